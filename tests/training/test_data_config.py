import dataclasses
import math

import pytest

from training.data import DataConfig
from training.errors import ConfigError


def test_default_is_the_data_that_needs_no_download():
    assert DataConfig().name == "digits"


def test_a_list_from_a_configuration_file_becomes_the_tuple_it_stands_for():
    assert DataConfig(name="folder", path="pictures", resize=[20, 30]).resize == (20, 30)


def test_a_leading_tilde_of_the_path_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert DataConfig(name="array", path="~/rows.npy").location == tmp_path / "rows.npy"


def test_a_configuration_cannot_be_changed_after_it_was_checked():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DataConfig().name = "mnist"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"name": "minst"}, r"data\.name: expected one of digits, mnist.*got 'minst'", id="unknown-name"),
        pytest.param({"name": "array"}, r"data\.path: .*needs a \.npy or \.npz file", id="array-without-path"),
        pytest.param({"name": "folder"}, r"data\.path: .*needs a folder of images", id="folder-without-path"),
        pytest.param({"path": "x"}, r"data\.path: the digits ship with scikit-learn", id="digits-with-path"),
        pytest.param({"name": "mnist", "path": ""}, r"data\.path: expected the name", id="empty-path"),
        pytest.param({"name": "mnist", "cache": ""}, r"data\.cache: expected the name", id="empty-cache"),
        pytest.param({"binarization": "grey"}, r"data\.binarization: expected dynamic.*got 'grey'", id="binarization"),
        pytest.param(
            {"name": "binarized-mnist", "binarization": "dynamic"},
            r"data\.binarization: binarized-mnist is binarised already.*use the data mnist",
            id="binarising-bits",
        ),
        pytest.param({"valid_fraction": 0.0}, r"data\.valid_fraction: .*got 0\.0", id="no-validation-rows"),
        pytest.param({"test_fraction": 1.0}, r"data\.test_fraction: .*got 1\.0", id="all-rows-for-test"),
        pytest.param({"test_fraction": math.nan}, r"data\.test_fraction: .*got nan", id="fraction-nan"),
        pytest.param({"test_fraction": "0.1"}, r"data\.test_fraction: .*got '0\.1'", id="fraction-as-text"),
        pytest.param(
            {"valid_fraction": 0.5, "test_fraction": 0.5},
            r"expected less than 1.*got 0\.5 \+ 0\.5",
            id="none-to-train-on",
        ),
        pytest.param({"split_seed": -1}, r"data\.split_seed: .*got -1", id="negative-seed"),
        pytest.param({"split_seed": True}, r"data\.split_seed: .*got True", id="seed-is-a-bool"),
        pytest.param({"split_seed": 2**63}, r"data\.split_seed: ", id="seed-too-large"),
        pytest.param({"name": "mnist", "resize": (8, 8)}, r"data\.resize: .*folder only", id="resizing-mnist"),
        pytest.param({"mode": "L"}, r"data\.mode: .*folder only", id="mode-of-digits"),
        pytest.param({"name": "folder", "path": "x", "mode": "RGBA"}, r"data\.mode: expected L or RGB", id="mode"),
        pytest.param(
            {"name": "folder", "path": "x", "resize": (8,)}, r"data\.resize: expected \[height", id="one-size"
        ),
        pytest.param(
            {"name": "folder", "path": "x", "resize": (8, 0)}, r"data\.resize: expected \[height", id="size-0"
        ),
        pytest.param({"name": "folder", "path": "x", "resize": 8}, r"data\.resize: expected \[height", id="a-number"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=message):
        DataConfig(**options)
