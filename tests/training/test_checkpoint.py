import io
import pickle
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tiny_runs import CPU, assert_identical
from torch import nn

from training import checkpoint
from training.checkpoint import Checkpoint
from training.errors import RunError


def state(step=3, *, num_weights=4):
    generator = torch.Generator().manual_seed(step)
    torch.rand(5, generator=generator)
    return Checkpoint(
        step=step,
        seconds=1.5,
        device="cpu, 1 thread",
        model={"weight": torch.randn(num_weights, generator=torch.Generator().manual_seed(step))},
        optimizer={"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        generator=generator.get_state(),
        window=torch.tensor([1.0, 2.0], dtype=torch.float64),
    )


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path):
    saved = state()
    path = checkpoint.save(tmp_path, saved, keep=1)
    loaded = checkpoint.load(path, device=CPU)
    assert_identical(vars(loaded), vars(saved))
    generator = torch.Generator()
    generator.set_state(loaded.generator)
    other = torch.Generator()
    other.set_state(saved.generator)
    assert torch.equal(torch.rand(8, generator=generator), torch.rand(8, generator=other))


def test_the_newest_are_kept_by_step_and_other_files_are_left_alone(tmp_path):
    other = tmp_path / "checkpoints" / "step-best.pt"
    other.parent.mkdir()
    other.write_text("mine")
    for step in (2, 9, 10, 100):
        checkpoint.save(tmp_path, state(step), keep=2)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-000000010.pt", "step-000000100.pt"]
    assert sorted(path.name for path in other.parent.iterdir()) == [
        "step-000000010.pt",
        "step-000000100.pt",
        "step-best.pt",
    ]


def test_checkpoints_at_milestones_are_kept_beside_the_newest(tmp_path):
    for step in (2, 5, 9, 10, 100):
        checkpoint.save(tmp_path, state(step), keep=1, milestones=(5, 9, 77))
    assert [checkpoint.step_of(path) for path in checkpoint.checkpoints(tmp_path)] == [5, 9, 100]


def test_a_run_without_a_folder_of_checkpoints_has_none(tmp_path):
    assert checkpoint.checkpoints(tmp_path) == []


def test_a_half_written_file_is_no_checkpoint_and_is_written_over(tmp_path):
    checkpoint.save(tmp_path, state(1), keep=5)
    partial = tmp_path / "checkpoints" / "step-000000002.partial"
    partial.write_bytes(b"half of a che")
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-000000001.pt"]
    assert checkpoint.load(checkpoint.save(tmp_path, state(2), keep=5), device=CPU).step == 2
    assert not partial.exists()


@contextmanager
def files_limited_to(num_bytes):
    """Writing more to one file fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_without_room_keeps_every_earlier_checkpoint(tmp_path):
    first = checkpoint.save(tmp_path, state(1), keep=1)
    with files_limited_to(10_000), pytest.raises(RunError, match=r"cannot write .*step-000000002\.pt: .*; make room"):
        checkpoint.save(tmp_path, state(2, num_weights=100_000), keep=1)
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    assert checkpoint.load(first, device=CPU).step == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(RunError, match=f"^cannot write the checkpoint {tmp_path}/checkpoints/step-000000003.pt: "):
        checkpoint.save(tmp_path, state(), keep=1)


class Malicious:
    """Unpickled by a reader that runs code, it leaves a mark."""

    def __init__(self, mark):
        self._mark = mark

    def __reduce__(self):
        return Path.touch, (self._mark,)


def serialised(value):
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


def damaged_contents(mark):
    whole = serialised(vars(state()))
    return {
        "empty": b"",
        "text": b"hello world " * 50,
        "cut at the end": whole[:-40],
        "cut in the middle": whole[: len(whole) // 2],
        "without its head": whole[40:],
        "of something else": serialised([1, 2]),
        "of other fields": serialised({"step": 3, "generator": torch.zeros(1)}),
        "lacks a field": serialised({key: value for key, value in vars(state()).items() if key != "window"}),
        "runs code": serialised({**vars(state()), "model": Malicious(mark)}),
        "pickle that runs code": pickle.dumps(Malicious(mark), protocol=2),
    }


@pytest.mark.parametrize("damage", list(damaged_contents(None)))
def test_a_damaged_checkpoint_is_named_in_one_line_and_runs_nothing(tmp_path, damage):
    mark = tmp_path / "mark"
    path = tmp_path / "step-000000003.pt"
    path.write_bytes(damaged_contents(mark)[damage])
    with pytest.raises(RunError, match=f"^{path} cannot be read as a checkpoint") as caught:
        checkpoint.load(path, device=CPU)
    assert "remove it to use the one before" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_weights_of_another_model_are_refused_in_one_line(tmp_path):
    path = checkpoint.save(tmp_path, state(), keep=1)
    model = nn.Linear(2, 2)
    before = model.weight.clone()
    with pytest.raises(RunError, match=f"^{path} does not fit the model") as caught:
        checkpoint.restore(model, checkpoint.load(path, device=CPU), path)
    assert "\n" not in str(caught.value)
    assert torch.equal(model.weight, before)
