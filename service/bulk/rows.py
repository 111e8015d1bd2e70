"""The rows of a part, a batch at a time: what can be encoded as one array, and what cannot with its position and cause.

Nothing here holds more than a batch, one Parquet row group, and what is fetched of an array at once. Positions are
those in the file, from 0.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.manifest import InputSpec
from service import row_bytes
from service.bulk import npy
from service.bulk.sources import Part, Slice, Source, first_line, relative
from service.datasets import columns

ROWS_PER_BATCH = 1024
ID = "id"
"""A column of strings of this name in a Parquet source names its rows."""
_FETCHED_BYTES = 16 << 20
"""Of an array that does not lie on this machine: every read is a round trip."""

ReadImage = Callable[[bytes], NDArray[np.float32]]
"""The content of an image file to the row [D] that the model takes; raises ValueError saying what is wrong with it."""


@dataclass(frozen=True)
class BadRows:
    """Rows `start` to `stop` of a file, whose first has a number in the source, and what is wrong with them."""

    file: str
    start: int
    stop: int
    number: int
    cause: str


@dataclass(frozen=True)
class Labels:
    """Which rows of a source some rows of one file are: their numbers [B], and B names where they have some."""

    file: str
    numbers: NDArray[np.int64]
    ids: list[str] | None
    number_of_file: int
    """The number of the file's first row, whether it is among these or not."""

    def __getitem__(self, at: slice | list[int]) -> "Labels":
        ids = None if self.ids is None else np.array(self.ids, object)[at].tolist()
        return replace(self, numbers=self.numbers[at], ids=ids)

    def bad(self, at: int, cause: str) -> BadRows:
        """One of them, which cannot be done."""
        number = int(self.numbers[at])
        start = number - self.number_of_file
        return BadRows(self.file, start, start + 1, number, cause)


@dataclass(frozen=True)
class Batch:
    """Rows [B, D], there until the next batch is read. Whether the model takes their values was not looked at."""

    rows: NDArray[Any]
    labels: Labels

    def stretches(self) -> Iterator["Batch"]:
        """In pieces whose numbers follow each other: where bad rows were left out, there are several."""
        numbers = self.labels.numbers
        if numbers[-1] - numbers[0] == len(numbers) - 1:
            yield self
            return
        edges = [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), len(numbers)]
        for start, stop in pairwise(edges):
            yield Batch(self.rows[start:stop], self.labels[start:stop])


@dataclass(frozen=True)
class RowReader:
    """Reads the parts of one source as rows of a model's inputs.

    `column` is the one that holds them in Parquet, in any form of `datasets.columns`.
    """

    source: Source
    filesystem: pafs.FileSystem
    base: str
    spec: InputSpec
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
                start = each.start + done
                yield BadRows(
                    relative(each.path, self.base), start, each.stop, number=first + done, cause=first_line(error)
                )
            first += each.stop - each.start

    def misfits(self, batch: Batch) -> Iterator[BadRows | Batch]:
        """Each row with a value that the model does not take, and the others as one batch."""
        minimum, maximum = self.spec.minimum, self.spec.maximum
        # NaN fails every comparison.
        inside = ((batch.rows >= minimum) & (batch.rows <= maximum)).all(axis=1)
        for at in np.flatnonzero(~inside).tolist():
            outside = next(value for value in batch.rows[at].tolist() if not minimum <= value <= maximum)
            cause = f"expected finite numbers from {minimum:g} to {maximum:g}, got {outside:g}"
            yield batch.labels.bad(at, cause)
        if inside.any():
            kept = np.flatnonzero(inside).tolist()
            yield Batch(batch.rows[kept], batch.labels[kept])

    def _read_npy(self, part: Slice, first: int) -> Iterator[Batch | BadRows]:
        with self.filesystem.open_input_file(part.path) as file:
            layout = npy.read_layout(file, file.size())
            if math.prod(layout.header.row_shape) != self.spec.size:
                got = list(layout.header.row_shape)
                raise ValueError(f"expected rows of {self.spec.size} numbers, got rows of shape {got}")
            at_once = ROWS_PER_BATCH
            if not isinstance(self.filesystem, pafs.LocalFileSystem):
                at_once = max(at_once, _FETCHED_BYTES // layout.header.row_bytes)
            number = first
            for fetched in npy.read_rows(file, layout, part.start, part.stop, at_once):
                rows = fetched.reshape(len(fetched), self.spec.size)
                # The engine takes numbers: true is 1.
                rows = rows.view(np.uint8) if rows.dtype == np.bool_ else rows
                for at in range(0, len(rows), ROWS_PER_BATCH):
                    some = rows[at : at + ROWS_PER_BATCH]
                    yield Batch(some, self._labels(part, first, number, len(some), None))
                    number += len(some)

    def _read_images(self, part: Slice, first: int) -> Iterator[Batch | BadRows]:
        with self.filesystem.open_input_stream(part.path) as file:
            content = file.read()
        row = self.read_image(content)
        yield Batch(row.reshape(1, -1), self._labels(part, first, first, 1, [relative(part.path, self.base)]))

    def _read_parquet(self, part: Slice, first: int) -> Iterator[Batch | BadRows]:
        with self.filesystem.open_input_file(part.path) as file:
            parquet = pq.ParquetFile(file)
            form = self._form(parquet.schema_arrow)
            groups = row_groups(parquet.metadata, part)
            wanted = [self.column, *([ID] if ID in parquet.schema_arrow.names else [])]
            number = first
            # A worker is a core: Arrow's own threads would take what belongs to others.
            for table in parquet.iter_batches(ROWS_PER_BATCH, row_groups=groups, columns=wanted, use_threads=False):
                ids = None
                if len(wanted) == 2 and pa.types.is_string(table.column(ID).type):
                    ids = [name or "" for name in table.column(ID).to_pylist()]
                labels = self._labels(part, first, number, len(table), ids)
                column = table.column(self.column)
                yield from (self._images if form == "images" else self._rows)(column, labels)
                number += len(table)

    def _form(self, schema: pa.Schema) -> columns.Form:
        """What the column holds. Raises ValueError where that is nothing that the model could take."""
        if self.column not in schema.names:
            raise ValueError(f"expected a column {self.column!r}, found {', '.join(schema.names[:10]) or 'none'}")
        kind = schema.field(self.column).type
        form = columns.form_of(kind)
        if form is None:
            raise ValueError(f"column {self.column!r}: expected {columns.EXPECTED}, got {kind}")
        if form == "bytes":
            row_bytes.read(np.empty((0, kind.byte_width), np.uint8), self.spec)
        return form

    def _rows(self, column: pa.Array, labels: Labels) -> Iterator[Batch | BadRows]:
        """A column as one batch; where that cannot be, its halves, down to the rows that are wrong."""
        try:
            if pa.types.is_fixed_size_binary(column.type):
                rows = row_bytes.read(columns.row_bytes(column), self.spec)
            else:
                rows = self._of_size(columns.numbers(column))
        except ValueError as error:
            if len(column) > 1:
                middle = len(column) // 2
                yield from self._rows(column[:middle], labels[:middle])
                yield from self._rows(column[middle:], labels[middle:])
                return
            cause = first_line(error) if column[0].is_valid else f"expected {self.spec.size} numbers, got nothing"
            yield labels.bad(0, cause)
            return
        yield Batch(rows, labels)

    def _of_size(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows [B, ...] as [B, D]. Raises ValueError unless each has D values."""
        if math.prod(rows.shape[1:]) != self.spec.size:
            raise ValueError(f"expected {self.spec.size} numbers, got {math.prod(rows.shape[1:])}")
        return rows.reshape(-1, self.spec.size)

    def _images(self, column: pa.Array, labels: Labels) -> Iterator[Batch | BadRows]:
        rows, kept = [], []
        for at, content in enumerate(columns.image_files(column)):
            try:
                rows.append(self.read_image(content).reshape(-1))
            except ValueError as error:
                yield labels.bad(at, first_line(error))
                continue
            kept.append(at)
        if rows:
            yield Batch(np.stack(rows), labels[kept])

    def _labels(self, part: Slice, first: int, number: int, num_rows: int, ids: list[str] | None) -> Labels:
        """Of rows from `number` on, in a slice whose first row has the number `first`."""
        numbers = np.arange(number, number + num_rows)
        return Labels(relative(part.path, self.base), numbers, ids, number_of_file=first - part.start)


def row_groups(metadata: pq.FileMetaData, part: Slice) -> list[int]:
    """The row groups that make up a slice of a Parquet file, which is cut between them."""
    groups, start = [], 0
    for at in range(metadata.num_row_groups):
        stop = start + metadata.row_group(at).num_rows
        if part.start <= start < part.stop:
            groups.append(at)
        start = stop
    return groups
