"""The header of a `.npy`: what an array is, read from the beginning of a file, a pipe or an object.

The format is NumPy's, version 1.0 to 3.0 (https://numpy.org/neps/nep-0001-npy-format.html).
"""

import math
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy_format

_REAL = "fiub"


class Header(NamedTuple):
    """An array of rows: [num_rows, *row_shape] of a real dtype, one row after the other."""

    num_rows: int
    row_shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.row_shape) * self.dtype.itemsize


def read_header(stream: BinaryIO) -> Header:
    """What the array that begins here is; the stream is at its first row then. No pickle is read.

    Raises ValueError, or EOFError where the stream ends before, unless it is an array of rows of real numbers.
    """
    version = npy_format.read_magic(stream)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    check_rows(shape, dtype)
    if is_fortran:
        raise ValueError("expected rows one after the other (C order), got Fortran order")
    return Header(shape[0], tuple(shape[1:]), dtype)


def check_rows(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raises ValueError unless it is an array of real numbers with an axis of rows and one more."""
    if dtype.kind not in _REAL:
        raise ValueError(f"expected an array of real numbers, got {dtype}")
    if len(shape) < 2:
        raise ValueError(f"expected rows, an array of two axes or more, got shape {list(shape)}")
