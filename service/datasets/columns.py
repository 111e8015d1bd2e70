"""Columns of a table as rows of inputs: lists of numbers, rows kept as bytes, image files.

Told apart by the column's type alone:

    lists of numbers, also within each other, and fixed-shape tensors    "numbers"
    binary of one size                                                   "bytes": a row as it lies in memory
    binary of any size, also as `bytes` in a struct, beside a path       "images": PNG or JPEG files

Arrow reads a list value by value, as each has a level of its own in Parquet; bytes it copies.
"""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Form = Literal["numbers", "bytes", "images"]

EXPECTED = "lists of numbers, rows as bytes of one size, or bytes of images"


def form_of(kind: pa.DataType) -> Form | None:
    """What a column of this type holds; None where that is no input."""
    kind = _storage(kind)
    if pa.types.is_fixed_size_binary(kind):
        return "bytes"
    if pa.types.is_struct(kind):
        kind = next((field.type for field in kind if field.name == "bytes"), kind)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "images"
    if not _is_list(kind):
        return None
    while _is_list(kind):
        kind = kind.value_type
    return "numbers" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else None


def numbers(column: pa.Array) -> NDArray[Any]:
    """Lists as [B, ...], an axis for each level. Raises ValueError where one is missing or longer than another."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    shape = [len(column)]
    while _is_list(column.type):
        _require_all(column)
        shape.append(_common_length(column))
        column = column.flatten()
    _require_all(column)
    array: NDArray[Any] = column.to_numpy(zero_copy_only=False).reshape(shape)
    return array


def row_bytes(column: pa.Array) -> NDArray[np.uint8]:
    """Binary of one size as [B, bytes of a row], not copied. Raises ValueError where a value is missing."""
    _require_all(column)
    width = column.type.byte_width
    if not len(column):
        return np.empty((0, width), np.uint8)
    content = np.frombuffer(column.buffers()[1], np.uint8, len(column) * width, column.offset * width)
    return content.reshape(len(column), width)


def image_files(column: pa.Array) -> list[bytes]:
    """Files, one a row; a missing one is empty."""
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    return [content or b"" for content in column.to_pylist()]


def _storage(kind: pa.DataType) -> pa.DataType:
    """What a tensor of a fixed shape is kept as; one whose axes are permuted is none of ours."""
    if isinstance(kind, pa.FixedShapeTensorType) and list(kind.permutation or []) == sorted(kind.permutation or []):
        return kind.storage_type
    return kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _require_all(column: pa.Array) -> None:
    if column.null_count:
        raise ValueError("a value is missing")


def _common_length(column: pa.Array) -> int:
    if pa.types.is_fixed_size_list(column.type):
        return int(column.type.list_size)
    lengths = pc.min_max(column.value_lengths()).as_py()
    if lengths["min"] != lengths["max"]:
        raise ValueError(f"expected lists of one length, got {lengths['min']} and {lengths['max']}")
    return int(lengths["min"] or 0)
