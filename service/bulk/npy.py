"""Reading rows from the middle of a `.npy` file, wherever it lies.

`numpy.load` wants a local file; an object store wants to be asked for ranges of bytes.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.datasets.npy_header import Header, read_header


class Layout(NamedTuple):
    """What a file holds, and where its rows begin."""

    header: Header
    offset: int


def read_layout(file: pa.NativeFile, size: int) -> Layout:
    """The layout of an open file of so many bytes. Raises ValueError unless it is an array of rows of real numbers.

    No more rows than the file has bytes for.
    """
    header = read_header(file)
    offset = file.tell()
    expected = offset + header.num_rows * header.row_bytes
    if size < expected:
        shape = [header.num_rows, *header.row_shape]
        raise ValueError(f"expected {expected} bytes for an array of shape {shape}, got {size}")
    return Layout(header, offset)


def read_rows(file: pa.NativeFile, layout: Layout, start: int, stop: int, rows_at_once: int) -> Iterator[NDArray[Any]]:
    """Rows `start` to `stop`, [B, *row], at most so many at a time, each of them in the memory of those before.

    Memory that is new costs more than what is read into it. Raises ValueError when the file ends before.
    """
    header = layout.header
    memory = np.empty((min(rows_at_once, stop - start), *header.row_shape), header.dtype)
    file.seek(layout.offset + start * header.row_bytes)
    for at in range(start, stop, rows_at_once):
        rows = memory[: stop - at]
        if file.readinto(rows.reshape(-1).view(np.uint8)) != rows.nbytes:
            raise ValueError(f"the file ends before row {at + len(rows)}")
        yield rows
