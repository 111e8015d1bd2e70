"""Inputs in Parquet: a column of them, in any form of `columns`, read row group after row group."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.datasets import columns
from service.datasets.images import ToInput
from service.datasets.rows import OnRefused, Rows
from service.errors import FileRefused

ToRows = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""Rows kept as bytes [B, bytes] to inputs [B, ...]; raises ValueError that says why they cannot be some."""

ID = "id"
_SHOWN = 20


class ParquetRows:
    """Rows of one column of a file; another may hold their names.

    Of a column of images, one that cannot be an input is told to `on_refused` and passed over.
    """

    def __init__(
        self,
        source: Path | BinaryIO,
        to_input: ToInput,
        to_rows: ToRows,
        on_refused: OnRefused,
        *,
        name: str | None = None,
        column: str | None = None,
        id_column: str | None = None,
    ) -> None:
        """By default `column` is the only one that fits, and `id_column` one of strings called "id", if it is there.

        Images that have no such column are named by the number of their row.
        """
        self.name = name if name is not None else str(source)
        self._to_input = to_input
        self._to_rows = to_rows
        self._on_refused = on_refused
        try:
            self._parquet = pq.ParquetFile(source)
        except (pa.ArrowException, OSError) as error:
            raise FileRefused(f"{self.name}: expected a Parquet file: {first_line(error)}") from error
        self._schema = self._parquet.schema_arrow
        self._column = self._chosen(column)
        self._holds_images = columns.form_of(self._schema.field(self._column).type) == "images"
        self._id_column = self._chosen_ids(id_column)
        self.has_ids = self._id_column is not None or self._holds_images

    def num_rows(self) -> int:
        return int(self._parquet.metadata.num_rows)

    def batches(self, rows: int) -> Iterator[Rows]:
        wanted = [self._column, *([self._id_column] if self._id_column is not None else [])]
        first = 0
        try:
            for batch in self._parquet.iter_batches(rows, columns=wanted):
                names = None
                if self._id_column is not None:
                    names = [str(value) for value in batch.column(self._id_column).to_pylist()]
                column = batch.column(self._column)
                found = (self._images if self._holds_images else self._rows)(column, first, names)
                if len(found.inputs):
                    yield found
                first += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise FileRefused(f"{self.name}: cannot be read after row {first}: {first_line(error)}") from error

    def _rows(self, column: pa.Array, first: int, names: list[str] | None) -> Rows:
        try:
            if pa.types.is_fixed_size_binary(column.type):
                return Rows(self._to_rows(columns.row_bytes(column)), names)
            return Rows(columns.numbers(column), names)
        except ValueError as error:
            raise FileRefused(f"{self.name}: column {self._column!r}: {error}, after row {first}") from error

    def _images(self, column: pa.Array, first: int, names: list[str] | None) -> Rows:
        inputs, ids = [], []
        for row, content in enumerate(columns.image_files(column), first):
            try:
                inputs.append(self._to_input(content))
            except FileRefused as refusal:
                self._on_refused(FileRefused(f"{self.name}: row {row}: {refusal}"))
                continue
            ids.append(names[row - first] if names is not None else str(row))
        return Rows(np.stack(inputs) if inputs else np.empty((0, 0)), ids)

    def _chosen(self, column: str | None) -> str:
        if column is not None:
            kind = self._field(column)
            if columns.form_of(kind) is None:
                raise FileRefused(f"{self.name}: column {column!r}: expected {columns.EXPECTED}, got {kind}")
            return column
        fitting = [field.name for field in self._schema if columns.form_of(field.type) is not None]
        if len(fitting) != 1:
            found = ", ".join(map(repr, fitting)) or f"none among {self._named()}"
            raise FileRefused(f"{self.name}: expected one column of {columns.EXPECTED}, found {found}")
        return str(fitting[0])

    def _chosen_ids(self, column: str | None) -> str | None:
        if column is not None:
            self._field(column)
            return column
        is_there = ID in self._schema.names and pa.types.is_string(self._schema.field(ID).type)
        return ID if is_there and self._column != ID else None

    def _field(self, column: str) -> Any:
        if column not in self._schema.names:
            raise FileRefused(f"{self.name}: no column {column!r}; there are {self._named()}")
        return self._schema.field(column).type

    def _named(self) -> str:
        names = self._schema.names
        return ", ".join(map(repr, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")


def first_line(error: Exception) -> str:
    """What an error of Arrow says, short enough for a sentence."""
    return str(error).partition("\n")[0][:300]
