"""A user's own rows: one array in a .npy file, or the arrays of a .npz file.

An array is [n, D], [n, H, W] or [n, H, W, C]: uint8 from 0 to 255, booleans, or floats in [0, 1]. A .npz file holds
"train" and, if wanted, "valid" and "test", or a single array under any name.

An array of uint8 whose values are all 0 or 1 holds bits: as grey values they would all be nearly black.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.config import DataConfig
from training.data.material import Material, input_spec, readable
from training.data.splits import SPLIT_NAMES, Split, SplitName
from training.errors import DataError

_ZIP_MAGIC = b"PK"


def read(config: DataConfig) -> Material:
    """The splits in the file at `config.path`. Raises DataError that names the file, the array and what is wrong."""
    path = config.location
    if path is None:
        raise DataError("data.path: expected a .npy or .npz file, got none")
    content = _content(path)
    arrays = _load(path, content)
    for name, array in arrays.items():
        _check(f"{path}, array {name}", array)
    _check_alike(path, arrays)
    scale = 255.0 if _is_grey(arrays) else 1.0
    shape = next(iter(arrays.values())).shape[1:]
    # A single channel needs no axis: (H, W, 1) is (H, W), row by row the same.
    shape = shape[:2] if len(shape) == 3 and shape[2] == 1 else shape
    return Material(
        splits={name: Split(_rows(array)) for name, array in arrays.items()},
        input=input_spec(shape),
        scale=scale,
        of=readable(path.name),
        origin={
            "source": "arrays of a file",
            "files": [
                {
                    "file": readable(path.name),
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "checksum_of": "file as it is",
                }
            ],
        },
    )


def _content(path: Path) -> bytes:
    if not path.exists():
        raise DataError(f"data.path: expected a .npy or .npz file, found nothing at {str(path)!r}; correct the path")
    if path.is_dir():
        raise DataError(
            f"data.path: expected a .npy or .npz file, {str(path)!r} is a folder; name the file in it, or set "
            'data.name to "folder" to train on its images'
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"data.path: {str(path)!r} cannot be read: {error.strerror}") from error


def _load(path: Path, content: bytes) -> dict[SplitName, NDArray[Any]]:
    try:
        # Without pickle: an array of objects could run code while it is read.
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        if not content.startswith(_ZIP_MAGIC):
            return {"train": loaded}
        with loaded as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: expected a .npy or .npz file of plain numbers ({error}); save them with numpy.save or "
            "numpy.savez, as an array of uint8, bool or float32 and not of objects"
        ) from error
    if "train" not in arrays and len(arrays) == 1:
        return {"train": next(iter(arrays.values()))}
    unknown = sorted(set(arrays) - set(SPLIT_NAMES))
    if "train" not in arrays or unknown:
        raise DataError(
            f"{path}: expected an array named train and, if wanted, valid and test, or a single array, got "
            f"{', '.join(sorted(arrays)) or 'no array'}; save the file with these names"
        )
    return {name: arrays[name] for name in SPLIT_NAMES if name in arrays}


def _check(where: str, array: NDArray[Any]) -> None:
    if array.ndim not in (2, 3, 4) or array.size == 0:
        raise DataError(
            f"{where}: expected the shape [rows, values], [rows, height, width] or [rows, height, width, channels] "
            f"with no axis of length 0, got {list(array.shape)}; reshape the array"
        )
    if array.dtype == np.uint8 or array.dtype == np.bool_:
        return
    if array.dtype.kind != "f":
        raise DataError(
            f"{where}: expected uint8 (0 to 255), bool, or floats from 0 to 1, got {array.dtype}; convert the array, "
            "for example with .astype(numpy.uint8)"
        )
    # Written so that NaN, which compares as false with everything, counts as wrong.
    wrong = ~((array >= 0) & (array <= 1))
    if wrong.any():
        position = np.unravel_index(int(np.argmax(wrong)), array.shape)
        value = float(array[position])
        advice = "scale the values" if np.isfinite(value) else "remove or replace such rows"
        raise DataError(
            f"{where}: expected floats from 0 to 1, got {value} at {[int(axis) for axis in position]} and "
            f"{int(wrong.sum()):,} values of that kind in all; {advice}"
        )


def _check_alike(path: Path, arrays: Mapping[SplitName, NDArray[Any]]) -> None:
    train = arrays["train"]
    for name, array in arrays.items():
        if array.shape[1:] != train.shape[1:] or array.dtype != train.dtype:
            raise DataError(
                f"{path}: expected the rows of {name} to be like those of train, {train.dtype} of shape "
                f"{list(train.shape[1:])}, got {array.dtype} of shape {list(array.shape[1:])}; save them alike"
            )


def _is_grey(arrays: Mapping[SplitName, NDArray[Any]]) -> bool:
    return any(array.dtype == np.uint8 and array.max() > 1 for array in arrays.values())


def _rows(array: NDArray[Any]) -> NDArray[Any]:
    """Flat rows [n, D], uint8 for uint8 and booleans, else float32."""
    dtype = np.float32 if array.dtype.kind == "f" else np.uint8
    return np.ascontiguousarray(array, dtype=dtype).reshape(len(array), -1)
