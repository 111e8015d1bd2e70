"""Codes from a file or a pipe: Parquet as `models.codefile` writes it, `.npy`, lines of hex, JSON lines."""

import io
import json
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import codes as code_layouts
from models.codefile import CodeFile, Provenance
from models.codes import CodeLayout
from models.errors import CodeError, CodeFileError
from service.datasets.inputs import STANDARD_INPUT, peeked
from service.datasets.kinds import described, kind_of
from service.datasets.lines import lines_of, numbered_lines
from service.datasets.npy import NpyFile, NpyStream
from service.errors import FileRefused, shown


class CodeRows(NamedTuple):
    """Codes [B, N], and what each was made of where that is known."""

    codes: NDArray[np.integer[Any]]
    ids: list[str] | None


class CodeSource:
    """Codes in order; `provenance` is known of a Parquet file only, which also knows the model."""

    provenance: Provenance | None = None
    has_ids = False

    def __init__(self, name: str) -> None:
        self.name = name

    def num_rows(self) -> int | None:
        """How many there are, if that can be known beforehand."""
        return None

    def batches(self, rows: int, layout: CodeLayout) -> Iterator[CodeRows]:
        """All codes, 1 to `rows` at a time. Raises FileRefused or CodeFileError, which name the place."""
        raise NotImplementedError


class _ParquetCodes(CodeSource):
    def __init__(self, source: Path | BinaryIO, name: str) -> None:
        super().__init__(name)
        self._file = CodeFile(source, name=name)
        self.provenance = self._file.provenance
        self.has_ids = self._file.has_ids

    def num_rows(self) -> int:
        return self._file.num_rows

    def batches(self, rows: int, layout: CodeLayout) -> Iterator[CodeRows]:  # noqa: ARG002 - the file knows its own
        for batch in self._file.batches(rows):
            yield CodeRows(batch.codes, batch.ids)


class _ArrayCodes(CodeSource):
    def __init__(self, array: NpyFile | NpyStream) -> None:
        super().__init__(array.name)
        self._array = array

    def num_rows(self) -> int:
        return self._array.num_rows()

    def batches(self, rows: int, layout: CodeLayout) -> Iterator[CodeRows]:
        first = 0
        for batch in self._array.batches(rows):
            yield CodeRows(_checked(batch.inputs, layout, f"{self.name}: in the rows from {first} on"), None)
            first += len(batch.inputs)


class _TextCodes(CodeSource):
    """A code a line: hex digits, or JSON: a string of them, a list of integers, or an object with "code" and "id"."""

    def __init__(self, lines: Iterator[tuple[int, str]], name: str) -> None:
        super().__init__(name)
        self._lines = lines
        self._first = next(self._lines, None)
        self.has_ids = self._first is not None and self._first[1].startswith("{")

    def batches(self, rows: int, layout: CodeLayout) -> Iterator[CodeRows]:
        codes: list[NDArray[Any]] = []
        ids: list[str] = []
        for line in self._every_line():
            code, name = self._code(line, layout)
            codes.append(code)
            ids.append(name)
            if len(codes) == rows:
                yield CodeRows(np.stack(codes), ids if self.has_ids else None)
                codes, ids = [], []
        if codes:
            yield CodeRows(np.stack(codes), ids if self.has_ids else None)

    def _every_line(self) -> Iterator[tuple[int, str]]:
        if self._first is not None:
            yield self._first
        yield from self._lines

    def _code(self, line: tuple[int, str], layout: CodeLayout) -> tuple[NDArray[Any], str]:
        number, text = line
        at = f"{self.name}: line {number}"
        value: Any = text
        name = str(number)
        if text[0] in '{["':
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise FileRefused(f"{at}: expected a code in hex or JSON: {str(error)[:100]}") from None
        if isinstance(value, dict):
            name = str(value.get("id", name))
            value = value.get("code")
        if isinstance(value, str):
            try:
                return code_layouts.from_hex([value], layout)[0], name
            except CodeError as error:
                raise FileRefused(f"{at}: {str(error).removeprefix('row 0: ')}") from None
        if not isinstance(value, list) or not all(type(symbol) is int for symbol in value):
            raise FileRefused(f"{at}: expected hex digits or a list of integers, got {shown(value)}")
        return _checked(np.array(value, object), layout, at), name


def open_codes(path: Path, *, stdin: BufferedIOBase) -> CodeSource:
    """Codes of a file, or of a pipe (`-`). Raises FileRefused or CodeFileError."""
    if path != STANDARD_INPUT:
        if not path.is_file():
            raise FileRefused(f"{path}: there is no such file")
        kind = kind_of(path)
        if kind == "parquet":
            return _ParquetCodes(path, str(path))
        if kind == "npy":
            return _ArrayCodes(NpyFile(path))
        if kind == "text":
            return _TextCodes(lines_of(path), str(path))
        raise FileRefused(f"{path}: expected codes in Parquet, .npy or text; by its bytes it is an image")
    name = "standard input"
    stream, first_bytes = peeked(stdin)
    kind, described_as = described(first_bytes)
    if kind == "parquet":
        # Its index is at its end, so all of it is needed at once.
        return _ParquetCodes(io.BytesIO(stream.read()), name)
    if kind == "npy":
        return _ArrayCodes(NpyStream(stream, name))
    if kind in ("text", "empty"):
        return _TextCodes(numbered_lines(stream, name), name)
    raise FileRefused(f"{name}: expected codes in Parquet, .npy or text, got {described_as}")


def _checked(codes: NDArray[Any], layout: CodeLayout, at: str) -> NDArray[np.integer[Any]]:
    try:
        if codes.dtype == object:
            codes = codes.astype(np.int64)
        return code_layouts.check(codes, layout)
    except OverflowError:
        raise CodeFileError(f"{at}: expected values in 0..{layout.num_categories - 1}, got one of 64 bits") from None
    except CodeError as error:
        raise CodeFileError(f"{at}: {error}") from None
