"""Tensors in a request: name, shape, datatype and elements, to an array.

Elements come as JSON, flat or nested like the shape and row-major, or as bytes behind the JSON. The shape is compared
with the model's, and the number of rows with the limit, before anything of that size is made.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.checks import place
from service.errors import invalid, shown
from service.open_inference.datatypes import DATATYPES
from service.open_inference.framing import Tail
from service.open_inference.metadata import Tensor
from service.open_inference.parameters import members

_MAX_DIMENSION = (1 << 63) - 1


class Declared(NamedTuple):
    """What the JSON says of an input tensor, checked against the model but for its elements."""

    field: str
    tensor: Tensor
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    data: Any
    """JSON elements, or None when they come as bytes."""
    binary_data_size: int | None

    @property
    def num_rows(self) -> int:
        return self.shape[0]


def read_declaration(document: Any, field: str, tensors: Mapping[str, Tensor]) -> Declared:
    """From an object of `inputs`; `field` is its path. Raises InvalidFields."""
    if type(document) is not dict:
        raise invalid(field, "an object", shown(document))
    tensor = _named(document, field, tensors)
    dtype = _datatype(document, field, tensor)
    shape = _shape(document, field, tensor)
    size = _binary_data_size(document, field, dtype, shape)
    if (size is None) == (document.get("data") is None):
        both = "both" if size is not None else "neither"
        raise invalid(field, "either data or parameters.binary_data_size", both)
    if size is None and dtype == np.float16:
        raise invalid(f"{field}.data", "FP16 as binary data, since JSON has no such number", "JSON")
    return Declared(field, tensor, dtype, shape, document.get("data"), size)


def read_elements(declared: Declared, tail: Tail) -> NDArray[Any]:
    """The array, of the declared shape; from JSON, floating-point numbers come as float64. Raises InvalidFields."""
    if declared.binary_data_size is not None:
        return np.frombuffer(tail.take(declared.field, declared.binary_data_size), declared.dtype).reshape(
            declared.shape
        )
    field = f"{declared.field}.data"
    flat = _flatten(declared.data, declared.shape, field)
    if declared.dtype.kind == "f":
        _check_types(flat, {int, float}, field, "numbers")
        return np.array(flat, np.float64).reshape(declared.shape)
    _check_types(flat, {int}, field, "integers")
    try:
        return np.array(flat, declared.dtype).reshape(declared.shape)
    except OverflowError:
        low, high = np.iinfo(declared.dtype).min, np.iinfo(declared.dtype).max
        wrong = next(index for index, number in enumerate(flat) if not low <= number <= high)
        raise invalid(f"{field}[{wrong}]", f"an integer from {low} to {high}", shown(flat[wrong])) from None


def _named(document: Mapping[str, Any], field: str, tensors: Mapping[str, Tensor]) -> Tensor:
    name = document.get("name")
    if type(name) is not str or name not in tensors:
        raise invalid(f"{field}.name", f"one of {', '.join(tensors)}", shown(name))
    return tensors[name]


def _datatype(document: Mapping[str, Any], field: str, tensor: Tensor) -> np.dtype[Any]:
    datatype = document.get("datatype")
    if type(datatype) is not str or datatype not in tensor.accepted:
        raise invalid(
            f"{field}.datatype",
            f"{tensor.datatype} for {tensor.name} (accepted are {', '.join(tensor.accepted)})",
            shown(datatype),
        )
    return DATATYPES[datatype]


def _shape(document: Mapping[str, Any], field: str, tensor: Tensor) -> tuple[int, ...]:
    """[B, *row_shape], or rows that are flat. Dimensions may be as large as JSON spells them: nothing is multiplied
    before they are known to fit.
    """
    shape = document.get("shape")
    row_shapes = {tensor.row_shape, (math.prod(tensor.row_shape),)}
    spelt = " or ".join(str(["rows", *row]).replace("'", "") for row in sorted(row_shapes, key=len, reverse=True))
    if type(shape) is not list or any(type(size) is not int for size in shape[: len(tensor.row_shape) + 1]):
        raise invalid(f"{field}.shape", f"{spelt}, a list of integers", shown(shape))
    if len(shape) > 1 + len(tensor.row_shape) or tuple(shape[1:]) not in row_shapes:
        raise invalid(f"{field}.shape", spelt, _clipped(shape))
    if not 0 < shape[0] <= _MAX_DIMENSION:
        raise invalid(f"{field}.shape[0]", "at least one row", shown(shape[0]))
    return tuple(shape)


def _clipped(shape: Sequence[Any]) -> str:
    shown_sizes = ", ".join(map(shown, shape[:8]))
    return f"[{shown_sizes}{', ...' if len(shape) > 8 else ''}]"


def _binary_data_size(
    document: Mapping[str, Any], field: str, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> int | None:
    given = members(document, f"{field}.parameters", ("binary_data_size",))
    size = given.get("binary_data_size")
    if size is None:
        return None
    expected = math.prod(shape) * dtype.itemsize
    if type(size) is not int or size != expected:
        raise invalid(f"{field}.parameters.binary_data_size", f"{expected} bytes for shape {list(shape)}", shown(size))
    return size


def _flatten(data: Any, shape: tuple[int, ...], field: str) -> list[Any]:
    """Elements in one list, whether they came flat or nested like the shape."""
    if type(data) is not list:
        raise invalid(
            field, f"a list of {math.prod(shape)} elements, or nested lists of shape {list(shape)}", shown(data)
        )
    flat = data
    if data and type(data[0]) is list:
        if len(data) != shape[0]:
            raise invalid(field, f"{shape[0]} rows, as its shape says", shown(data))
        for depth, size in enumerate(shape[1:], start=1):
            _check_nesting(flat, shape[:depth], size, field)
            flat = list(chain.from_iterable(flat))
    if len(flat) != math.prod(shape):
        raise invalid(field, f"{math.prod(shape)} elements for shape {list(shape)}", shown(flat))
    return flat


def _check_nesting(parts: list[Any], lead: tuple[int, ...], size: int, field: str) -> None:
    """Parts of shape `lead`, each of which must be a list of this size."""
    if set(map(type, parts)) == {list} and set(map(len, parts)) == {size}:
        return
    wrong = next(index for index, part in enumerate(parts) if type(part) is not list or len(part) != size)
    where = place([int(index) for index in np.unravel_index(wrong, lead)])
    raise invalid(f"{field}{where}", f"a list of {size}", shown(parts[wrong]))


def _check_types(flat: list[Any], types: set[type], field: str, expected: str) -> None:
    if not types.issuperset(map(type, flat)):
        wrong = next(index for index, element in enumerate(flat) if type(element) not in types)
        raise invalid(f"{field}[{wrong}]", expected, shown(flat[wrong]))
