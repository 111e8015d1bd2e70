"""Inputs in Parquet: a column of lists of numbers, or of images, read row group after row group."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.datasets.images import ToInput
from service.datasets.rows import OnRefused, Rows
from service.errors import FileRefused

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
        self._on_refused = on_refused
        try:
            self._parquet = pq.ParquetFile(source)
        except (pa.ArrowException, OSError) as error:
            raise FileRefused(f"{self.name}: expected a Parquet file: {first_line(error)}") from error
        self._schema = self._parquet.schema_arrow
        self._column = self._chosen(column)
        self._holds_images = _holds_images(self._schema.field(self._column).type)
        self._id_column = self._chosen_ids(id_column)
        self.has_ids = self._id_column is not None or self._holds_images

    def num_rows(self) -> int:
        return int(self._parquet.metadata.num_rows)

    def batches(self, rows: int) -> Iterator[Rows]:
        columns = [self._column, *([self._id_column] if self._id_column is not None else [])]
        first = 0
        try:
            for batch in self._parquet.iter_batches(rows, columns=columns):
                names = None
                if self._id_column is not None:
                    names = [str(value) for value in batch.column(self._id_column).to_pylist()]
                column = batch.column(self._column)
                if self._holds_images:
                    found = self._images(column, first, names)
                else:
                    found = Rows(self._numbers(column, first), names)
                if len(found.inputs):
                    yield found
                first += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise FileRefused(f"{self.name}: cannot be read after row {first}: {first_line(error)}") from error

    def _images(self, column: Any, first: int, names: list[str] | None) -> Rows:
        if pa.types.is_struct(column.type):
            column = column.field("bytes")
        inputs, ids = [], []
        for row, content in enumerate(column.to_pylist(), first):
            try:
                inputs.append(self._to_input(content or b""))
            except FileRefused as refusal:
                self._on_refused(FileRefused(f"{self.name}: row {row}: {refusal}"))
                continue
            ids.append(names[row - first] if names is not None else str(row))
        return Rows(np.stack(inputs) if inputs else np.empty((0, 0)), ids)

    def _chosen(self, column: str | None) -> str:
        if column is not None:
            kind = self._field(column)
            if not (_holds_rows(kind) or _holds_images(kind)):
                raise FileRefused(f"{self.name}: column {column!r}: expected lists of numbers, or images, got {kind}")
            return column
        fitting = [field.name for field in self._schema if _holds_rows(field.type) or _holds_images(field.type)]
        if len(fitting) != 1:
            found = ", ".join(map(repr, fitting)) or f"none among {self._named()}"
            raise FileRefused(f"{self.name}: expected one column of lists of numbers, or of images, found {found}")
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

    def _numbers(self, column: Any, first: int) -> NDArray[Any]:
        """Lists, within each other or not, as [B, ...]."""
        shape = [len(column)]
        while _is_list(column.type):
            if column.null_count:
                raise FileRefused(f"{self.name}: column {self._column!r}: a value is missing after row {first}")
            length = self._common_length(column, first)
            column = column.flatten()
            shape.append(length)
        if column.null_count:
            raise FileRefused(f"{self.name}: column {self._column!r}: a value is missing after row {first}")
        numbers: NDArray[Any] = column.to_numpy(zero_copy_only=False).reshape(shape)
        return numbers

    def _common_length(self, column: Any, first: int) -> int:
        if pa.types.is_fixed_size_list(column.type):
            return int(column.type.list_size)
        lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
        if len(lengths) != 1:
            raise FileRefused(
                f"{self.name}: column {self._column!r}: expected lists of one length, got {lengths[0]} and "
                f"{lengths[-1]} after row {first}"
            )
        return int(lengths[0])


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _holds_rows(kind: Any) -> bool:
    if not _is_list(kind):
        return False
    while _is_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _holds_images(kind: Any) -> bool:
    """Bytes of files; or, as data sets of images are often kept, a struct of them and a path."""
    if pa.types.is_struct(kind):
        kind = next((field.type for field in kind if field.name == "bytes"), kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def first_line(error: Exception) -> str:
    """What an error of Arrow says, short enough for a sentence."""
    return str(error).partition("\n")[0][:300]
