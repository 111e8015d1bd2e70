"""The source of inputs for the paths that somebody gave: by what the files are, not by what they are called."""

import io
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from service.datasets.images import ImageFiles, ToInput
from service.datasets.kinds import NUM_BYTES, described, kind_of
from service.datasets.lines import JsonLines, lines_of, numbered_lines
from service.datasets.npy import NpyFile, NpyStream
from service.datasets.rows import OnRefused, Rows, RowSource
from service.datasets.table import ParquetRows, ToRows
from service.errors import FileRefused

STANDARD_INPUT = Path("-")


def open_inputs(
    paths: Sequence[Path],
    *,
    stdin: BufferedIOBase,
    to_input: ToInput,
    to_rows: ToRows,
    on_refused: OnRefused,
    column: str | None = None,
    id_column: str | None = None,
) -> RowSource:
    """Rows of one `.npy`, Parquet or JSON-lines file, of images and folders of images, or of a pipe (`-`).

    Raises FileRefused when that is not what was given.
    """
    if paths == [STANDARD_INPUT]:
        return _from_pipe(stdin, to_input, to_rows, column, id_column, on_refused)
    if STANDARD_INPUT in paths:
        raise FileRefused("-: standard input cannot be read beside files")
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        raise FileRefused(f"{missing}: there is no such file or folder")
    if len(paths) > 1 or paths[0].is_dir():
        return ImageFiles(paths, to_input, on_refused)
    (path,) = paths
    match kind_of(path):
        case "npy":
            return NpyFile(path)
        case "parquet":
            return ParquetRows(path, to_input, to_rows, on_refused, column=column, id_column=id_column)
        case "image":
            return ImageFiles(paths, to_input, on_refused)
        case _:
            return JsonLines(lines_of(path), str(path))


def _from_pipe(
    stdin: BufferedIOBase,
    to_input: ToInput,
    to_rows: ToRows,
    column: str | None,
    id_column: str | None,
    on_refused: OnRefused,
) -> RowSource:
    name = "standard input"
    stream, first_bytes = peeked(stdin)
    kind, described_as = described(first_bytes)
    match kind:
        case "npy":
            return NpyStream(stream, name)
        case "parquet":
            # Its index is at its end, so all of it is needed at once.
            content = io.BytesIO(stream.read())
            return ParquetRows(content, to_input, to_rows, on_refused, name=name, column=column, id_column=id_column)
        case "image":
            return _OneImage(stream.read(), to_input, name)
        case "text":
            return JsonLines(numbered_lines(stream, name), name)
        case _:
            raise FileRefused(f"{name}: expected an image, .npy, Parquet or JSON lines, got {described_as}")


def peeked(stream: BufferedIOBase) -> tuple[BinaryIO, bytes]:
    """A stream of the same bytes, and the first of them."""
    first_bytes = stream.read(NUM_BYTES)
    return io.BufferedReader(_Joined(first_bytes, stream), 1 << 16), first_bytes


class _Joined(io.RawIOBase):
    """Some bytes, then what a stream still has."""

    def __init__(self, first: bytes, rest: BufferedIOBase) -> None:
        # What is there, without waiting for more.
        self._parts = chain([first], iter(lambda: rest.read1(1 << 16), b""))
        self._waiting = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer
        while not self._waiting:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._waiting = memoryview(part)
        taken = min(len(buffer), len(self._waiting))
        buffer[:taken] = self._waiting[:taken]
        self._waiting = self._waiting[taken:]
        return taken


class _OneImage:
    """An image that came through a pipe."""

    has_ids = False

    def __init__(self, content: bytes, to_input: ToInput, name: str) -> None:
        self.name = name
        self._content = content
        self._to_input = to_input

    def num_rows(self) -> int:
        return 1

    def batches(self, rows: int) -> Iterator[Rows]:  # noqa: ARG002 - there is one
        try:
            yield Rows(self._to_input(self._content)[None], None)
        except FileRefused as error:
            raise FileRefused(f"{self.name}: {error}") from error
