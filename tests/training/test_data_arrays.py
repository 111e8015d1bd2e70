import hashlib
import json

import numpy as np
import pytest

from training.data import DataConfig, load
from training.errors import DataError


def saved(path, array=None, **arrays):
    """The configuration of a file with that array, or those arrays, in it."""
    if arrays:
        np.savez(path.with_suffix(".npz"), **arrays)
        return DataConfig(name="array", path=str(path.with_suffix(".npz")))
    np.save(path.with_suffix(".npy"), array)
    return DataConfig(name="array", path=str(path.with_suffix(".npy")))


def grey(*shape):
    return np.random.default_rng(3).integers(0, 256, size=shape, dtype=np.uint8)


def unit(*shape):
    return np.random.default_rng(4).random(shape)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "rows"


@pytest.mark.parametrize(
    ("array", "shape", "mode"),
    [
        pytest.param(grey(20, 7), (7,), None, id="vectors"),
        pytest.param(grey(20, 6, 5), (6, 5), "L", id="grey-images"),
        pytest.param(grey(20, 6, 5, 1), (6, 5), "L", id="grey-images-with-a-channel-axis"),
        pytest.param(grey(20, 6, 5, 3), (6, 5, 3), "RGB", id="colour-images"),
        pytest.param(grey(20, 6, 5, 4), (6, 5, 4), None, id="four-channels"),
    ],
)
def test_the_shape_of_a_row_decides_what_an_input_is(file, array, shape, mode):
    dataset = load(saved(file, array))
    assert dataset.input.shape == shape
    assert (dataset.input.image and dataset.input.image.mode) == mode
    assert (dataset.input.minimum, dataset.input.maximum) == (0.0, 1.0)
    rows = np.concatenate([split.values for split in dataset.splits.values()])
    assert sorted(map(bytes, rows)) == sorted(row.tobytes() for row in array)


@pytest.mark.parametrize(
    ("array", "scale", "dtype", "binarization"),
    [
        pytest.param(grey(20, 7), 255.0, np.uint8, "dynamic", id="uint8-is-grey"),
        pytest.param(grey(20, 7) % 2, 1.0, np.uint8, "none", id="uint8-of-zeros-and-ones-is-bits"),
        pytest.param(grey(20, 7) // 128 * 255, 255.0, np.uint8, "none", id="uint8-of-black-and-white-is-bits"),
        pytest.param(grey(20, 7) > 99, 1.0, np.uint8, "none", id="booleans-are-bits"),
        pytest.param(unit(20, 7), 1.0, np.float32, "dynamic", id="float64-is-grey"),
        pytest.param(unit(20, 7).astype(np.float16), 1.0, np.float32, "dynamic", id="float16-is-grey"),
        pytest.param(unit(20, 7).astype(">f4"), 1.0, np.float32, "dynamic", id="big-endian-is-grey"),
        pytest.param(np.round(unit(20, 7)), 1.0, np.float32, "none", id="floats-of-zeros-and-ones-are-bits"),
    ],
)
def test_the_values_decide_scale_and_usual_binarisation(file, array, scale, dtype, binarization):
    dataset = load(saved(file, array))
    assert (dataset.scale, dataset.binarization) == (scale, binarization)
    values = dataset.splits["train"].values
    assert values.dtype == dtype
    assert values.dtype.isnative
    assert values.flags.c_contiguous


def test_arrays_keep_their_order_and_values_when_every_split_is_given(file):
    train, valid, test = unit(20, 4), unit(3, 4) / 2, unit(5, 4) / 3
    dataset = load(saved(file, train=train, valid=valid, test=test))
    for name, array in {"train": train, "valid": valid, "test": test}.items():
        np.testing.assert_array_equal(dataset.splits[name].values, array.astype(np.float32))
    assert dataset.provenance["split_seed"] is None


def test_a_missing_split_is_cut_from_train(file):
    dataset = load(saved(file, train=grey(20, 4), test=grey(6, 4)))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 18, "valid": 2, "test": 6}
    assert dataset.protocol("test") == "array rows.npz test, 6 vectors, one Bernoulli binarisation with seed 20181"


def test_a_single_array_of_an_npz_file_may_have_any_name(file):
    dataset = load(saved(file, arr_0=grey(20, 4)))
    assert sum(len(split) for split in dataset.splits.values()) == 20


def test_bits_in_train_do_not_hide_grey_values_in_test(file):
    dataset = load(saved(file, train=grey(20, 4) % 2, test=grey(6, 4)))
    assert (dataset.scale, dataset.binarization) == (255.0, "dynamic")


def test_the_provenance_holds_the_checksum_of_the_file_and_not_where_it_lay(file):
    config = saved(file, grey(20, 4))
    provenance = load(config).provenance
    assert provenance["files"][0]["file"] == "rows.npy"
    assert provenance["files"][0]["sha256"] == hashlib.sha256(config.location.read_bytes()).hexdigest()
    assert str(file.parent) not in json.dumps(provenance)


def with_value(value):
    array = unit(20, 4)
    array[7, 2] = value
    return array


@pytest.mark.parametrize(
    ("array", "message"),
    [
        pytest.param(with_value(np.nan), r"got nan at \[7, 2\] and 1 values.*remove or replace", id="nan"),
        pytest.param(with_value(np.inf), r"got inf at \[7, 2\].*remove or replace", id="infinite"),
        pytest.param(with_value(1.5), r"floats from 0 to 1, got 1\.5 at \[7, 2\].*scale the values", id="above-one"),
        pytest.param(with_value(-0.5), r"floats from 0 to 1, got -0\.5 at \[7, 2\].*scale the values", id="negative"),
        pytest.param(np.zeros((0, 4), np.uint8), r"no axis of length 0, got \[0, 4\]", id="no-rows"),
        pytest.param(np.zeros((20, 0), np.uint8), r"no axis of length 0, got \[20, 0\]", id="no-values"),
        pytest.param(np.zeros(20, np.uint8), r"expected the shape \[rows, values\].*got \[20\]", id="one-axis"),
        pytest.param(np.zeros((), np.uint8), r"expected the shape \[rows, values\].*got \[\]", id="no-axis"),
        pytest.param(
            np.zeros((9, 2, 2, 2, 2), np.uint8), r"expected the shape .*got \[9, 2, 2, 2, 2\]", id="five-axes"
        ),
        pytest.param(np.zeros((20, 4), np.int64), r"got int64; convert the array", id="int64"),
        pytest.param(np.zeros((20, 4), np.complex64), r"got complex64; convert the array", id="complex"),
        pytest.param(np.full((20, 4), "a"), r"got <U1; convert the array", id="text"),
        pytest.param(
            grey(5, 4), r"expected at least 8 rows to train on, got 5, less 1 .*give more data", id="few-rows"
        ),
    ],
)
def test_an_array_that_cannot_be_learned_is_refused_with_the_way_out(file, array, message):
    with pytest.raises(DataError, match=message):
        load(saved(file, array))


def test_the_array_at_fault_is_named(file):
    with pytest.raises(DataError, match=r"rows\.npz, array test: .*got nan"):
        load(saved(file, train=unit(20, 4), test=np.full((3, 4), np.nan)))


@pytest.mark.parametrize("test", [unit(6, 5), unit(6, 4).astype(np.float32)], ids=["another-shape", "another-dtype"])
def test_splits_that_differ_in_kind_are_refused(file, test):
    with pytest.raises(
        DataError, match=r"rows of test to be like those of train, float64 of shape \[4\].*save them alike"
    ):
        load(saved(file, train=unit(20, 4), test=test))


def test_unknown_names_are_refused_with_those_that_were_found(file):
    with pytest.raises(DataError, match=r"expected an array named train .*got x_test, x_train; save"):
        load(saved(file, x_train=grey(20, 4), x_test=grey(6, 4)))
    with pytest.raises(DataError, match=r"got train, vaild; save"):
        load(saved(file, train=grey(20, 4), vaild=grey(6, 4)))


class Dangerous:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_an_array_of_objects_is_refused_and_its_code_is_not_run(file, tmp_path):
    array = np.empty((20, 1), object)
    array[:] = [[Dangerous(tmp_path / "harm")]] * 20
    with pytest.raises(DataError, match=r"plain numbers .*not of objects"):
        load(saved(file, array))
    with pytest.raises(DataError, match=r"plain numbers .*not of objects"):
        load(saved(file, train=array))
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04torn", b"\x93NUMPY\x01\x00\x76\x00{"])
def test_a_file_that_is_no_array_is_refused(tmp_path, content):
    (tmp_path / "rows.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.npz: expected a \.npy or \.npz file of plain numbers"):
        load(DataConfig(name="array", path=str(tmp_path / "rows.npz")))


def test_a_torn_file_is_refused(file):
    config = saved(file, grey(20, 4))
    config.location.write_bytes(config.location.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"expected a \.npy or \.npz file of plain numbers"):
        load(config)


def test_a_path_that_leads_nowhere_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"data\.path: .*found nothing at '.*absent\.npy'; correct the path"):
        load(DataConfig(name="array", path=str(tmp_path / "absent.npy")))


def test_a_folder_instead_of_a_file_is_refused_with_both_ways_out(tmp_path):
    with pytest.raises(DataError, match=r'is a folder; name the file in it, or set data\.name to "folder"'):
        load(DataConfig(name="array", path=str(tmp_path)))
