"""What holds of a loaded data set whatever its source, tried on the digits, which need no file."""

import json
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
from sklearn.datasets import load_digits

from models.manifest import TrainingRecord
from training.data import EVALUATION_SEED, READERS, SPLIT_NAMES, DataConfig, SourceName, load
from training.errors import ConfigError


def test_every_name_has_a_reader():
    assert set(READERS) == set(get_args(SourceName))


def test_the_digits_are_those_of_scikit_learn_each_once():
    dataset = load(DataConfig())
    bunch = load_digits()
    expected = sorted(
        (bytes(row.astype(np.uint8)), int(label)) for row, label in zip(bunch.data, bunch.target, strict=True)
    )
    found = sorted(
        (row.tobytes(), int(label))
        for split in dataset.splits.values()
        for row, label in zip(split.values, split.labels, strict=True)
    )
    assert found == expected
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 1258, "valid": 180, "test": 359}
    assert (dataset.scale, dataset.binarization, dataset.input.shape) == (16.0, "dynamic", (8, 8))


def test_the_same_seed_gives_the_same_splits_and_another_seed_others():
    first, again, other = (load(DataConfig(split_seed=seed)) for seed in (0, 0, 1))
    for name in SPLIT_NAMES:
        np.testing.assert_array_equal(first.splits[name].values, again.splits[name].values)
    assert not np.array_equal(first.splits["test"].values, other.splits["test"].values)


def test_fractions_asked_for_are_the_fractions_cut():
    dataset = load(DataConfig(valid_fraction=0.5, test_fraction=0.25))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 450, "valid": 898, "test": 449}


def test_a_fraction_that_leaves_nothing_beside_the_usual_other_one_is_refused():
    with pytest.raises(ConfigError, match=r"expected less than 1, got 0\.9 \+ 0\.2; an option left out"):
        load(DataConfig(valid_fraction=0.9))


def test_evaluation_sees_the_same_bits_at_every_call():
    dataset = load(DataConfig())
    first = dataset.evaluation_inputs("test")
    assert first.shape == (359, 64)
    assert set(np.unique(first)) == {0.0, 1.0}
    np.testing.assert_array_equal(first, dataset.evaluation_inputs("test"))


def test_the_draws_of_different_splits_are_independent(tmp_path):
    # At value 1/2 two independent draws agree in half of the 10,000 places, within 6 standard deviations of 0.5 / 100.
    # A false alarm in about 2 of 1,000,000,000 choices of the seed, for each pair.
    half = np.full((100, 100), 0.5)
    np.savez(tmp_path / "half.npz", train=half, valid=half, test=half)
    dataset = load(DataConfig(name="array", path=str(tmp_path / "half.npz")))
    train, valid, test = (dataset.evaluation_inputs(name) for name in SPLIT_NAMES)
    for one, other in ((train, valid), (valid, test), (train, test)):
        assert abs((one == other).mean() - 0.5) <= 6 * 0.5 / 100


def test_the_mean_of_many_training_draws_is_the_mean_that_is_promised():
    # 64 places, mean over 1,258 images: |difference| <= 5 standard deviations, each at most 0.5 / sqrt(1258).
    # A false alarm in at most 1 of 25,000 choices of the seed.
    dataset = load(DataConfig())
    difference = np.abs(dataset.evaluation_inputs("train").mean(axis=0) - dataset.mean())
    assert difference.max() <= 5 * 0.5 / np.sqrt(1258)
    assert dataset.mean().max() > 0.5


@pytest.mark.parametrize(
    ("binarization", "words"),
    [
        ("dynamic", f"one Bernoulli binarisation with seed {EVALUATION_SEED}"),
        ("threshold", "binarised at 1/2"),
        ("none", "values from 0 to 1 as given"),
    ],
)
def test_the_protocol_names_data_split_size_cut_and_binarisation(binarization, words):
    dataset = load(DataConfig(binarization=binarization))
    assert dataset.protocol("test") == f"digits test, 359 images, cut off the training rows with seed 0, {words}"
    assert dataset.protocol("train") == f"digits train, 1,258 images, less those cut off with seed 0, {words}"


def test_the_provenance_fits_the_manifest_and_survives_json():
    dataset = load(DataConfig(split_seed=9))
    provenance = dataset.provenance
    assert json.loads(json.dumps(provenance)) == provenance
    TrainingRecord(data=provenance, config={}, num_steps=0, duration_seconds=0, device="cpu")
    assert provenance["name"] == "digits"
    assert provenance["splits"] == {"train": 1258, "valid": 180, "test": 359}
    assert provenance["split_seed"] == 9
    assert (provenance["binarization"], provenance["evaluation_seed"]) == ("dynamic", EVALUATION_SEED)


def test_the_values_can_be_written_to_so_that_torch_takes_them_without_a_copy():
    for split in load(DataConfig()).splits.values():
        assert split.values.flags.writeable
        assert split.values.flags.c_contiguous


def test_reading_data_loads_no_torch():
    program = (
        "import sys, training.data; training.data.load(training.data.DataConfig()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "error", "-c", program]).returncode == 0
