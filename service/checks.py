"""Which arrays a model takes: inputs, codes and relaxed codes, checked against its manifest.

Each function returns the array as the graphs take it or raises InvalidFields, which names the value's place, what was
expected and what came. ONNX Runtime itself would encode NaN, and an empty batch, without a word.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes
from models.manifest import Manifest
from service.errors import invalid, shown

Floats = NDArray[np.float32]

_BITS_OF: dict[Any, np.dtype[Any]] = {
    np.dtype(np.float32): np.dtype(np.uint32),
    np.dtype(np.float64): np.dtype(np.uint64),
}
"""Floats from 0 on are in the order of their bits, read as unsigned integers; whatever else there is (negative numbers,
-0, NaN) is above all of them.
"""

SIMPLEX_TOLERANCE = 1e-3
"""How far from 1 the sum of a relaxed categorical code may be."""


def inputs(manifest: Manifest, array: NDArray[Any]) -> Floats:
    """Inputs [B, D] or [B, *input] to [B, D].

    The range is checked before rounding to float32, which could leave it by half a unit in the last place.
    """
    spec = manifest.input
    numbers = _numbers("inputs", array, spec.shape)
    _check_range("inputs", numbers, spec.minimum, spec.maximum)
    if numbers.ndim != 2:
        numbers = numbers.reshape(len(numbers), -1)
    return np.ascontiguousarray(numbers, np.float32)


def relaxed(manifest: Manifest, array: NDArray[Any]) -> Floats:
    """Relaxed codes [B, *latent], or flat, to [B, *latent]: in [0, 1], those of a categorical latent summing to 1."""
    numbers = _numbers("relaxed", array, manifest.latent_shape)
    _check_range("relaxed", numbers, 0.0, 1.0)
    numbers = numbers.reshape(len(numbers), *manifest.latent_shape)
    if manifest.kind == "categorical":
        sums = numbers.sum(axis=-1, dtype=np.float64)
        wrong = np.argwhere(np.abs(sums - 1) > SIMPLEX_TOLERANCE)
        if len(wrong):
            row, latent = map(int, wrong[0])
            raise invalid(
                f"relaxed[{row}][{latent}]",
                f"{manifest.num_categories} values whose sum is 1 within {SIMPLEX_TOLERANCE:g}",
                f"a sum of {sums[row, latent]:.6g}",
            )
    return np.ascontiguousarray(numbers, np.float32)


def codes(manifest: Manifest, array: NDArray[Any]) -> Codes:
    """Integers [B, N] in 0..K-1, to the dtype of the manifest's layout."""
    layout = manifest.layout
    array = np.asarray(array)
    if array.dtype.kind not in "iu":
        raise invalid("codes", code_expected(manifest), f"an array of {array.dtype}")
    _check_shape("codes", array, (layout.num_latents,))
    if _least(array) < 0 or _largest(array) >= layout.num_categories:
        where = tuple(map(int, np.argwhere((array < 0) | (array >= layout.num_categories))[0]))
        raise invalid(f"codes{place(where)}", code_expected(manifest), shown(array[where].item()))
    return array.astype(layout.dtype)


def place(where: Sequence[int]) -> str:
    """`(3, 17)` as it stands in the path of a field: `[3][17]`."""
    return "".join(f"[{index}]" for index in where)


def code_expected(manifest: Manifest) -> str:
    """What each value of a code may be."""
    return f"an integer in 0..{manifest.num_categories - 1}"


def row_expected(row_shape: Sequence[int]) -> str:
    """The two shapes in which a row may come: `[784] or [28, 28]`."""
    flat = f"[{math.prod(row_shape)}]"
    return flat if len(row_shape) == 1 else f"{flat} or {list(row_shape)}"


def _numbers(field: str, array: NDArray[Any], row_shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.asarray(array)
    if array.dtype.kind not in "iuf":
        raise invalid(field, "numbers", f"an array of {array.dtype}")
    _check_shape(field, array, row_shape)
    return array


def _check_shape(field: str, array: NDArray[Any], row_shape: tuple[int, ...]) -> None:
    """One row or more, each of `row_shape` or flat."""
    shape = array.shape[1:]
    if array.ndim == 0 or (shape != row_shape and shape != (math.prod(row_shape),)):
        raise invalid(field, f"rows of shape {row_expected(row_shape)}", f"an array of shape {list(array.shape)}")
    if not len(array):
        raise invalid(field, "at least one row", "none")


# numpy's max is a ufunc, whose machinery takes five times as long for a row as argmax, and more where it runs cold.


def _largest(numbers: NDArray[Any]) -> Any:
    """The largest number; NaN where there is one."""
    return numbers.item(numbers.argmax())


def _least(numbers: NDArray[Any]) -> Any:
    """The least number; NaN where there is one."""
    return numbers.item(numbers.argmin())


@lru_cache(256)
def _bits(number: float, dtype: np.dtype[Any]) -> int:
    return int(np.array(number, dtype).view(_BITS_OF[dtype]))


def _check_range(field: str, numbers: NDArray[Any], minimum: float, maximum: float) -> None:
    # Where all is well, one pass or two and no array.
    if minimum == 0 and (bits := _BITS_OF.get(numbers.dtype)) is not None:
        if _largest(numbers.view(bits)) <= _bits(maximum, numbers.dtype):
            return
    # Written so that NaN, which fails every comparison, is outside.
    elif _least(numbers) >= minimum and _largest(numbers) <= maximum:
        return
    inside = (numbers >= minimum) & (numbers <= maximum)
    if not inside.all():
        where = tuple(map(int, np.argwhere(~inside)[0]))
        raise invalid(
            f"{field}{place(where)}",
            f"a finite number from {minimum:g} to {maximum:g}",
            shown(numbers[where].item()),
        )
