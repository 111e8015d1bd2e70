"""Reading rows from the middle of a `.npy` file, wherever it lies.

`numpy.load` wants a local file; an object store wants to be asked for ranges of bytes. The format is NumPy's, version
1.0 to 3.0 (https://numpy.org/neps/nep-0001-npy-format.html).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy_format
from numpy.typing import NDArray


@dataclass(frozen=True)
class Header:
    """What a file holds, and where its rows begin."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    @property
    def num_rows(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def read_header(file: pa.NativeFile, size: int) -> Header:
    """The header of an open file of so many bytes. Raises ValueError unless it is an array of rows of numbers.

    No pickle, and no more rows than the file has bytes for.
    """
    stream = pa.PythonFile(file, mode="r") if not hasattr(file, "read") else file
    version = npy_format.read_magic(stream)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    if dtype.kind not in "iuf":
        raise ValueError(f"expected an array of numbers, got {dtype}")
    if not shape:
        raise ValueError("expected an array of rows, got a single number")
    if is_fortran and len(shape) > 1:
        raise ValueError("expected rows one after the other (C order), got Fortran order")
    header = Header(tuple(shape), dtype, stream.tell())
    expected = header.offset + header.num_rows * header.row_bytes
    if size < expected:
        raise ValueError(f"expected {expected} bytes for an array of shape {list(shape)}, got {size}")
    return header


def read_rows(file: pa.NativeFile, header: Header, start: int, stop: int) -> NDArray[Any]:
    """Rows `start` to `stop`, [stop - start, *row]. Raises ValueError when the file ends before."""
    file.seek(header.offset + start * header.row_bytes)
    content = file.read((stop - start) * header.row_bytes)
    if len(content) != (stop - start) * header.row_bytes:
        raise ValueError(f"the file ends before row {stop}")
    return np.frombuffer(content, header.dtype).reshape(stop - start, *header.shape[1:])
