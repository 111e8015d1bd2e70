"""The rows of a part, a batch at a time: what can be encoded as one array, and what cannot with its position and cause.

Nothing here holds more than a batch and one Parquet row group. Positions are those in the file, from 0.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.bulk import npy
from service.bulk.sources import Part, Slice, Source, first_line, relative

ROWS_PER_BATCH = 4096
ID = "id"
"""A column of strings of this name in a Parquet source names its rows."""

ReadImage = Callable[[bytes], NDArray[np.float32]]
"""The content of an image file to the row [D] that the model takes; raises ValueError saying what is wrong with it."""


@dataclass(frozen=True)
class Batch:
    """Rows [B, D] with their numbers [B] in the source, and B names where they have some."""

    rows: NDArray[Any]
    numbers: NDArray[np.int64]
    ids: list[str] | None


@dataclass(frozen=True)
class BadRows:
    """Rows `start` to `stop` of a file, whose first has a number in the source, and what is wrong with them."""

    file: str
    start: int
    stop: int
    number: int
    cause: str


@dataclass(frozen=True)
class RowReader:
    """Reads the parts of one source as rows of `row_size` numbers from `minimum` to `maximum`.

    `column` is the one that holds them in Parquet: lists of numbers, or the bytes of image files.
    """

    source: Source
    filesystem: pafs.FileSystem
    base: str
    row_size: int
    minimum: float
    maximum: float
    column: str
    read_image: ReadImage

    @property
    def has_ids(self) -> bool:
        """Whether the rows have names: images theirs, rows of Parquet those of a column `id`."""
        if self.source.kind == "images":
            return True
        if self.source.kind == "npy" or not self.source.files:
            return False
        with self.filesystem.open_input_file(self.source.files[0][0]) as file:
            schema = pq.read_schema(file)
        return ID in schema.names and pa.types.is_string(schema.field(ID).type)

    def read(self, part: Part) -> Iterator[Batch | BadRows]:
        """Every row of the part once, in order: in a batch, or among bad rows."""
        first = part.first_row
        read = {"parquet": self._read_parquet, "npy": self._read_npy, "images": self._read_images}[self.source.kind]
        for each in part.slices:
            done = 0
            try:
                for found in read(each, first):
                    done += len(found.rows) if isinstance(found, Batch) else found.stop - found.start
                    yield found
            except (pa.ArrowException, OSError, ValueError) as error:
                # Whatever is left of the slice cannot be read: the file was cut off, or bits of it have changed.
                yield self._bad(each.path, each.start + done, each.stop, first + done, first_line(error))
            first += each.stop - each.start

    def _read_npy(self, part: Slice, first: int) -> Iterator[Batch | BadRows]:
        with self.filesystem.open_input_file(part.path) as file:
            layout = npy.read_layout(file, file.size())
            if math.prod(layout.header.row_shape) != self.row_size:
                got = list(layout.header.row_shape)
                raise ValueError(f"expected rows of {self.row_size} numbers, got rows of shape {got}")
            for start in range(part.start, part.stop, ROWS_PER_BATCH):
                stop = min(start + ROWS_PER_BATCH, part.stop)
                rows = npy.read_rows(file, layout, start, stop).reshape(stop - start, self.row_size)
                yield from self._checked(part.path, rows, start, first + start - part.start, None)

    def _read_images(self, part: Slice, first: int) -> Iterator[Batch | BadRows]:
        with self.filesystem.open_input_stream(part.path) as file:
            content = file.read()
        row = self.read_image(content)
        yield Batch(row.reshape(1, -1), np.array([first]), [relative(part.path, self.base)])

    def _read_parquet(self, part: Slice, first: int) -> Iterator[Batch | BadRows]:
        with self.filesystem.open_input_file(part.path) as file:
            parquet = pq.ParquetFile(file)
            columns = [self.column, *([ID] if ID in parquet.schema_arrow.names else [])]
            if self.column not in parquet.schema_arrow.names:
                raise ValueError(
                    f"expected a column {self.column!r}, found {', '.join(parquet.schema_arrow.names[:10]) or 'none'}"
                )
            position = part.start
            groups = row_groups(parquet.metadata, part)
            for batch in parquet.iter_batches(ROWS_PER_BATCH, row_groups=groups, columns=columns):
                names = batch.column(1) if len(columns) == 2 and pa.types.is_string(batch.column(1).type) else None
                ids = None if names is None else [name or "" for name in names.to_pylist()]
                number = first + position - part.start
                yield from self._read_column(part.path, batch.column(0), position, number, ids)
                position += len(batch)

    def _read_column(
        self, path: str, column: pa.Array, start: int, number: int, ids: list[str] | None
    ) -> Iterator[Batch | BadRows]:
        """One batch of a Parquet column: numbers as they lie in memory, or images one after the other."""
        if pa.types.is_struct(column.type) and "bytes" in [field.name for field in column.type]:
            column = column.field("bytes")  # how datasets of images are often kept, beside a path
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            yield from self._read_image_column(path, column, start, number, ids)
            return
        if not _is_list_of_numbers(column.type):
            raise ValueError(f"column {self.column!r}: expected lists of numbers or bytes of images, got {column.type}")
        fits = pc.and_(pc.is_valid(column), pc.equal(pc.list_value_length(column), self.row_size))
        fits = pc.fill_null(fits, fill_value=False)
        if pc.all(fits).as_py():
            yield from self._checked(path, self._as_rows(column), start, number, ids)
            return
        # Rare enough to go through them in runs of equals: good rows in one piece, bad ones each for itself.
        for at, stop, good in _runs(np.asarray(fits)):
            some = None if ids is None else ids[at:stop]
            if good:
                yield from self._checked(
                    path, self._as_rows(column.slice(at, stop - at)), start + at, number + at, some
                )
                continue
            for row in range(at, stop):
                got = "nothing" if not column[row].is_valid else f"{len(column[row])}"
                cause = f"expected {self.row_size} numbers, got {got}"
                yield self._bad(path, start + row, start + row + 1, number + row, cause)

    def _read_image_column(
        self, path: str, column: pa.Array, start: int, number: int, ids: list[str] | None
    ) -> Iterator[Batch | BadRows]:
        rows, numbers, names = [], [], []
        for at, content in enumerate(column.to_pylist()):
            try:
                rows.append(self.read_image(content or b"").reshape(-1))
            except ValueError as error:
                yield self._bad(path, start + at, start + at + 1, number + at, first_line(error))
                continue
            numbers.append(number + at)
            names.append("" if ids is None else ids[at])
        if rows:
            yield Batch(np.stack(rows), np.array(numbers), None if ids is None else names)

    def _as_rows(self, column: pa.Array) -> NDArray[Any]:
        values = column.flatten()
        if values.null_count:
            # Found with the other values that do not fit.
            values = pc.fill_null(values.cast(pa.float64()), float("nan"))
        return np.asarray(values).reshape(-1, self.row_size)

    def _checked(
        self, path: str, rows: NDArray[Any], start: int, number: int, ids: list[str] | None
    ) -> Iterator[Batch | BadRows]:
        """The rows whose values the model takes, and each that it does not."""
        numbers = np.arange(number, number + len(rows))
        # NaN fails every comparison, and minimum and maximum pass it on.
        if rows.min() >= self.minimum and rows.max() <= self.maximum:
            yield Batch(rows, numbers, ids)
            return
        inside = ((rows >= self.minimum) & (rows <= self.maximum)).all(axis=1)
        for at in np.flatnonzero(~inside).tolist():
            outside = next(value for value in rows[at].tolist() if not self.minimum <= value <= self.maximum)
            cause = f"expected finite numbers from {self.minimum:g} to {self.maximum:g}, got {outside:g}"
            yield self._bad(path, start + at, start + at + 1, number + at, cause)
        if inside.any():
            kept = np.flatnonzero(inside)
            yield Batch(rows[kept], numbers[kept], None if ids is None else [ids[at] for at in kept.tolist()])

    def _bad(self, path: str, start: int, stop: int, number: int, cause: str) -> BadRows:
        return BadRows(relative(path, self.base), start, stop, number, cause)


def row_groups(metadata: pq.FileMetaData, part: Slice) -> list[int]:
    """The row groups that make up a slice of a Parquet file, which is cut between them."""
    groups, start = [], 0
    for at in range(metadata.num_row_groups):
        stop = start + metadata.row_group(at).num_rows
        if part.start <= start < part.stop:
            groups.append(at)
        start = stop
    return groups


def _is_list_of_numbers(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)))


def _runs(flags: NDArray[np.bool_]) -> Iterator[tuple[int, int, bool]]:
    """Start, stop and value of each stretch of equal flags."""
    edges = [0, *(np.flatnonzero(flags[1:] != flags[:-1]) + 1).tolist(), len(flags)]
    for start, stop in pairwise(edges):
        yield start, stop, bool(flags[start])
