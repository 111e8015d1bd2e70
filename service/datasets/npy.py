"""Arrays in `.npy`: read in batches from a file or a pipe, and written without knowing how many rows will come."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import DTypeLike, NDArray

from service.datasets.npy_header import check_rows, read_header
from service.datasets.rows import Rows
from service.errors import FileRefused


class NpyFile:
    """Rows of an array on disk, mapped into memory: what is not read costs none."""

    has_ids = False

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._array = open_npy(path)

    def num_rows(self) -> int:
        return len(self._array)

    def batches(self, rows: int) -> Iterator[Rows]:
        for start in range(0, len(self._array), rows):
            yield Rows(np.ascontiguousarray(self._array[start : start + rows]), None)


class NpyStream:
    """Rows of an array that comes through a pipe."""

    has_ids = False

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self.name = name
        self._stream = stream
        try:
            self._header = read_header(stream)
        except (ValueError, EOFError) as error:
            raise FileRefused(f"{name}: the header of .npy cannot be read: {error}") from error

    def num_rows(self) -> int:
        return self._header.num_rows

    def batches(self, rows: int) -> Iterator[Rows]:
        row_bytes = self._header.row_bytes
        for start in range(0, self.num_rows(), rows):
            num_rows = min(rows, self.num_rows() - start)
            content = self._stream.read(num_rows * row_bytes)
            if len(content) != num_rows * row_bytes:
                read = start + len(content) // max(1, row_bytes)
                raise FileRefused(f"{self.name}: expected {self.num_rows()} rows, as its header says, got {read}")
            yield Rows(np.frombuffer(content, self._header.dtype).reshape(num_rows, *self._header.row_shape), None)


class NpyWriter:
    """Appends rows to a `.npy` that is open for writing and can seek; `close` completes its header."""

    def __init__(self, file: BinaryIO, row_shape: Sequence[int], dtype: DTypeLike) -> None:
        self._file = file
        self._row_shape = tuple(row_shape)
        self._dtype = np.dtype(dtype)
        self._num_rows = 0
        self._write_header()

    def write(self, rows: NDArray[Any]) -> None:
        """Rows [B, *row_shape] of the writer's dtype."""
        assert (rows.shape[1:], rows.dtype) == (self._row_shape, self._dtype)
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self._num_rows += len(rows)

    def close(self) -> None:
        """Say how many rows there are. numpy leaves room in every header for the first axis to grow."""
        self._file.seek(0)
        self._write_header()
        self._file.seek(0, io.SEEK_END)

    def _write_header(self) -> None:
        header = {
            "descr": npy_format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._num_rows, *self._row_shape),
        }
        npy_format.write_array_header_1_0(self._file, header)


def open_npy(path: Path) -> NDArray[Any]:
    """The array of a file, mapped: real numbers, with an axis of rows. Raises FileRefused."""
    try:
        # No pickle: it would run whatever the file says.
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise FileRefused(f"{path}: cannot be read as .npy: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise FileRefused(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        check_rows(array.shape, array.dtype)
    except ValueError as error:
        raise FileRefused(f"{path}: {error}") from error
    return array
