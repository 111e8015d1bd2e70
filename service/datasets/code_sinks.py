"""Where codes go: Parquet as `models.codefile` writes it, `.npy`, lines of hex, JSON lines."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models import codes as code_layouts
from models.atomic_files import replacing
from models.codefile import CodeFileWriter, Provenance
from models.codes import CodeLayout
from service.datasets.npy import NpyWriter

CodeFileFormat = Literal["parquet", "npy", "hex", "jsonl"]
SUFFIXES: dict[str, CodeFileFormat] = {
    ".parquet": "parquet",
    ".npy": "npy",
    ".hex": "hex",
    ".txt": "hex",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


class CodeSink(Protocol):
    """Takes codes in order."""

    def write(self, codes: NDArray[np.integer[Any]], ids: Sequence[str] | None) -> None:
        """Append codes [B, N], with an id each if the sink was opened for them."""
        ...


@contextmanager
def open_sink(
    path: Path | None, file_format: CodeFileFormat, provenance: Provenance, *, has_ids: bool, stdout: BinaryIO
) -> Iterator[CodeSink]:
    """A sink; the file at `path` is there, whole, when the block ends without an error. None: a pipe."""
    if path is None:
        if file_format in ("hex", "jsonl"):
            yield _Lines(stdout, file_format, provenance.layout)
            return
        # These begin, or end, with how much there is: they are kept until that is known.
        with tempfile.TemporaryFile() as kept:
            with _opened(kept, file_format, provenance, has_ids) as sink:
                yield sink
            kept.seek(0)
            shutil.copyfileobj(kept, stdout)
        return
    with replacing(path) as file, _opened(file, file_format, provenance, has_ids) as sink:
        yield sink


@contextmanager
def _opened(file: BinaryIO, file_format: CodeFileFormat, provenance: Provenance, has_ids: bool) -> Iterator[CodeSink]:
    match file_format:
        case "parquet":
            with CodeFileWriter(file, provenance, has_ids=has_ids) as writer:
                yield writer
        case "npy":
            array = NpyWriter(file, (provenance.num_latents,), provenance.layout.dtype)
            yield _Array(array, provenance.layout)
            array.close()
        case "hex" | "jsonl":
            yield _Lines(file, file_format, provenance.layout)


class _Array:
    """Codes as integers [B, N]; ids have no place there."""

    def __init__(self, writer: NpyWriter, layout: CodeLayout) -> None:
        self._writer = writer
        self._layout = layout

    def write(self, codes: NDArray[np.integer[Any]], ids: Sequence[str] | None) -> None:  # noqa: ARG002
        self._writer.write(code_layouts.check(codes, self._layout))


class _Lines:
    """A line a code: its hex digits; or an object with them under "code", and the id."""

    def __init__(self, file: BinaryIO, file_format: CodeFileFormat, layout: CodeLayout) -> None:
        self._file = file
        self._is_json = file_format == "jsonl"
        self._layout = layout

    def write(self, codes: NDArray[np.integer[Any]], ids: Sequence[str] | None) -> None:
        lines = code_layouts.to_hex(codes, self._layout)
        if self._is_json:
            named = [{}] * len(lines) if ids is None else [{"id": name} for name in ids]
            lines = [json.dumps(name | {"code": code}) for name, code in zip(named, lines, strict=True)]
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()
