import numpy as np
import pytest
import torch
from test_batches import dataset
from tiny_runs import CPU, assert_same_run, digits, tiny_config, train

from training import config
from training.batches import TrainingBatches
from training.data import Dataset
from training.errors import ConfigError
from training.placement import choose_placement
from training.trainer import Trainer


def bits(num_rows=40, num_values=11, *, scale=1.0):
    values = (np.random.default_rng(0).random((num_rows, num_values)) < 0.4).astype(np.uint8) * np.uint8(scale)
    return Dataset(**{**vars(dataset(values, scale=scale)), "binary": True})


def batches_of(data, placement, *, seed=3):
    return TrainingBatches(data, batch_size=7, seed=seed, device=CPU, placement=placement)


def inputs(batches, steps):
    generator = torch.Generator().manual_seed(1)
    try:
        return [batches.inputs(step, generator) for step in steps]
    finally:
        batches.close()


@pytest.mark.parametrize("scale", [1.0, 255.0])
@pytest.mark.parametrize("placement", ["packed", "streamed"])
def test_the_batches_of_a_step_are_the_same_wherever_the_rows_lie(placement, scale):
    data = bits(scale=scale)
    # In order, across epochs of five steps, a jump back, and a jump ahead.
    steps = [*range(12), 3, 4, 40]
    expected = inputs(batches_of(data, "resident"), steps)
    got = inputs(batches_of(data, placement), steps)
    assert all(map(torch.equal, expected, got))


@pytest.mark.parametrize("binarization", ["dynamic", "threshold"])
def test_streamed_rows_are_binarised_where_the_compute_is_like_resident_ones(binarization):
    grey = dataset(np.arange(400, dtype=np.uint8).reshape(40, 10), scale=255.0, binarization=binarization)
    expected = inputs(batches_of(grey, "resident"), range(8))
    assert all(map(torch.equal, expected, inputs(batches_of(grey, "streamed"), range(8))))


def test_values_that_are_no_bits_are_not_packed():
    with pytest.raises(ValueError, match=r'"packed" is for values of 0 and 1, and array has others'):
        batches_of(dataset(np.zeros((40, 3), np.float32)), "packed")


def test_a_run_on_streamed_rows_is_bit_for_bit_the_one_on_resident_rows_interrupted_or_not(tmp_path):
    settings = tiny_config()
    train(settings, tmp_path / "resident")
    streamed = config.parse({**config.to_dict(settings), "data": {"placement": "streamed"}})
    train(streamed, tmp_path / "streamed", interrupted_at=(7, 22, 23))
    assert_same_run(tmp_path / "resident", tmp_path / "streamed")


def test_a_run_says_where_its_rows_lie(tmp_path, caplog):
    with caplog.at_level("INFO"):
        Trainer(tiny_config(), digits(), tmp_path, device=CPU)
    assert "training rows are resident" in caplog.text


def test_an_unknown_placement_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"data\.placement: .*auto.*resident.*packed.*streamed.*, got 'attic'"):
        config.parse({"data": {"placement": "attic"}})


@pytest.mark.parametrize(
    ("free", "is_binary", "expected"),
    [(2_000, True, "resident"), (1_999, True, "packed"), (1_999, False, "streamed"), (200, True, "streamed")],
)
def test_on_a_gpu_rows_go_where_half_of_the_free_memory_holds_them(monkeypatch, free, is_binary, expected):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))
    values = np.zeros((100, 10), np.uint8)
    assert choose_placement(values, is_binary=is_binary, device=torch.device("cuda")) == expected


def test_on_the_cpu_rows_are_where_the_compute_is():
    assert choose_placement(np.zeros((3, 2), np.uint8), is_binary=True, device=CPU) == "resident"
