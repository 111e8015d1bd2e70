"""Inputs as JSON lines: a row a line, as a list of numbers or as {"input": [...], "id": "..."}."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from service.datasets.rows import Rows
from service.errors import FileRefused, shown

MAX_LINE_BYTES = 16 << 20


class JsonLines:
    """Rows of a text file or a pipe. Names are those of the lines that have one, numbers of lines elsewhere."""

    def __init__(self, lines: Iterator[tuple[int, str]], name: str) -> None:
        self.name = name
        self._lines = lines
        self._first = next(self._lines, None)
        self.has_ids = self._first is not None and isinstance(self._document(self._first), dict)

    def num_rows(self) -> None:
        return None

    def batches(self, rows: int) -> Iterator[Rows]:
        inputs: list[NDArray[Any]] = []
        ids: list[str] = []
        for line in self._every_line():
            row, name = self._row(line)
            if inputs and row.shape != inputs[0].shape:
                raise FileRefused(
                    f"{self._at(line)}: expected a row of shape {list(inputs[0].shape)}, as before, "
                    f"got {list(row.shape)}"
                )
            inputs.append(row)
            ids.append(name)
            if len(inputs) == rows:
                yield Rows(np.stack(inputs), ids if self.has_ids else None)
                inputs, ids = [], []
        if inputs:
            yield Rows(np.stack(inputs), ids if self.has_ids else None)

    def _every_line(self) -> Iterator[tuple[int, str]]:
        if self._first is not None:
            yield self._first
        yield from self._lines

    def _row(self, line: tuple[int, str]) -> tuple[NDArray[Any], str]:
        document = self._document(line)
        name = str(line[0])
        if isinstance(document, dict):
            name = str(document.get("id", name))
            document = document.get("input")
        if not isinstance(document, list) or not document:
            expected = 'a list of numbers, or {"input": [...], "id": "..."}'
            raise FileRefused(f"{self._at(line)}: expected {expected}, got {shown(document)}")
        try:
            row = np.array(document)
        except ValueError:
            raise FileRefused(f"{self._at(line)}: expected lists of one length within each other") from None
        if row.dtype.kind not in "fiu":
            raise FileRefused(f"{self._at(line)}: expected numbers, got {row.dtype}")
        return row.astype(np.float64), name

    def _document(self, line: tuple[int, str]) -> Any:
        try:
            return json.loads(line[1])
        except (ValueError, RecursionError) as error:
            said = str(error)[:100]
            raise FileRefused(f"{self._at(line)}: expected a line of JSON: {said}") from None

    def _at(self, line: tuple[int, str]) -> str:
        return f"{self.name}: line {line[0]}"


def numbered_lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, without their ends, counted from 1. Raises FileRefused on what is no text."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise FileRefused(f"{name}: line {number}: expected at most {MAX_LINE_BYTES} bytes, got more")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise FileRefused(f"{name}: line {number}: expected text in UTF-8") from None
        if text:
            yield number, text


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The same of a file, which is open until its last line was read or nobody looks any more."""
    try:
        with path.open("rb") as stream:
            yield from numbered_lines(stream, str(path))
    except OSError as error:
        raise FileRefused(f"{path}: cannot be read: {error.strerror}") from error
