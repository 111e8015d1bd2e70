"""Which numbers lie in a range, at its edges and beyond all numbers."""

import math
from typing import Any

import numpy as np
import pytest
from tiny_models import TINY_BINARY, manifest_of

from service import checks
from service.errors import InvalidFields

ABOVE_ONE = {np.float32: np.nextafter(np.float32(1), np.float32(2)), np.float64: math.nextafter(1.0, 2.0)}
BELOW_ZERO = {np.float32: -np.float32(1e-45), np.float64: -5e-324}


def rows(number: Any, dtype: Any) -> Any:
    """Two rows of zeros and ones with one number among them."""
    array = np.tile(np.array([0, 1], dtype), (2, 8))
    array[1, 3] = number
    return array


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", [0.0, -0.0, 5e-324, 0.5, 1.0])
def test_numbers_from_0_to_1_are_taken(dtype: Any, number: float) -> None:
    array = rows(number, dtype)
    assert (checks.inputs(manifest_of(TINY_BINARY), array) == array.astype(np.float32)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("wrong", [BELOW_ZERO, ABOVE_ONE, -1.0, 2.0, math.inf, -math.inf, math.nan, -math.nan])
@pytest.mark.parametrize("is_native", [True, False])
def test_others_are_refused_with_their_place(dtype: Any, wrong: Any, is_native: bool) -> None:
    array = rows(wrong[dtype] if isinstance(wrong, dict) else wrong, dtype)
    if not is_native:
        array = array.astype(array.dtype.newbyteorder())
    with pytest.raises(InvalidFields, match=r"inputs\[1\]\[3\]: expected a finite number from 0 to 1"):
        checks.inputs(manifest_of(TINY_BINARY), array)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8])
@pytest.mark.parametrize(("number", "is_inside"), [(-1, True), (1, True), (-2, False), (2, False)])
def test_a_range_may_begin_below_0(dtype: Any, number: float, is_inside: bool) -> None:
    manifest = manifest_of(TINY_BINARY)
    manifest = manifest.model_copy(update={"input": manifest.input.model_copy(update={"minimum": -1.0})})
    if is_inside:
        checks.inputs(manifest, rows(number, dtype))
    else:
        with pytest.raises(InvalidFields, match=r"inputs\[1\]\[3\]"):
            checks.inputs(manifest, rows(number, dtype))


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">i2", "<i4", ">i8", "<i8", "<u8", ">u4"])
@pytest.mark.parametrize("wrong", [-1, 2, 127, -128])
def test_a_symbol_that_no_latent_has_is_refused_with_its_place(dtype: str, wrong: int) -> None:
    manifest = manifest_of(TINY_BINARY)
    array = np.zeros((3, manifest.num_latents), dtype)
    array[:, 1] = 1
    assert (checks.codes(manifest, array) == array).all()
    assert (checks.codes(manifest, array[::2]) == array[::2]).all()
    if wrong < 0 and array.dtype.kind == "u":
        wrong += 256
    array[2, 0] = wrong
    with pytest.raises(InvalidFields, match=rf"codes\[2\]\[0\]: expected an integer in 0\.\.1, received {wrong}"):
        checks.codes(manifest, array)
    with pytest.raises(InvalidFields, match=r"codes\[1\]\[0\]"):
        checks.codes(manifest, array[::2])


@pytest.mark.parametrize("dtype", ["i1", "<i2", ">i2", "<i4", "<i8"])
def test_a_symbol_below_0_is_none_of_many_categories_either(dtype: str) -> None:
    manifest = manifest_of(TINY_BINARY).model_copy(update={"kind": "categorical", "num_categories": 1 << 16})
    array = np.zeros((2, manifest.num_latents), dtype)
    array[1, 2] = 127
    assert (checks.codes(manifest, array) == array).all()
    array[1, 2] = -1
    with pytest.raises(InvalidFields, match=r"codes\[1\]\[2\]: expected an integer in 0\.\.65535, received -1"):
        checks.codes(manifest, array)
