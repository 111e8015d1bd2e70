"""Where outputs of a model go: `.npy`, one PNG sheet, or a folder of PNGs."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

import click
import numpy as np

from models.atomic_files import replacing
from models.manifest import InputSpec
from service import images
from service.checks import Floats
from service.cli.options import STREAM, Function
from service.datasets.npy import NpyWriter

MAX_ON_SHEET = 4096
"""Pictures that a sheet holds; a folder holds any number."""


class OutputSink(Protocol):
    """Takes outputs in order."""

    def write(self, outputs: Floats, ids: Sequence[str] | None) -> None:
        """Append outputs [B, *input]; ids name files where there are files."""
        ...


def output_options(command: Function) -> Function:
    """`--output`."""
    return click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path, allow_dash=True),
        required=True,
        help="A .npy file, a .png (a sheet of all), a folder (a PNG each; so ends its name: pictures/), "
        "or - for .npy on standard output.",
    )(command)


@contextmanager
def open_outputs(path: Path, spec: InputSpec, *, stdout: BinaryIO) -> Iterator[OutputSink]:
    """A sink; a file at `path` is there, whole, when the block ends without an error."""
    if path == STREAM:
        with tempfile.TemporaryFile() as kept:
            writer = NpyWriter(kept, spec.shape, np.float32)
            yield _Array(writer)
            writer.close()
            kept.seek(0)
            shutil.copyfileobj(kept, stdout)
        return
    match path.suffix.lower():
        case ".npy":
            with replacing(path) as file:
                writer = NpyWriter(file, spec.shape, np.float32)
                yield _Array(writer)
                writer.close()
        case ".png":
            _require_pictures(spec)
            sheet = _Sheet(spec)
            with replacing(path) as file:
                yield sheet
                file.write(sheet.to_png())
        case "":
            _require_pictures(spec)
            path.mkdir(parents=True, exist_ok=True)
            yield _Folder(path, spec)
        case suffix:
            raise click.UsageError(f"--output: expected .npy, .png, a folder or -, got a name that ends in {suffix}")


class _Array:
    def __init__(self, writer: NpyWriter) -> None:
        self._writer = writer

    def write(self, outputs: Floats, ids: Sequence[str] | None) -> None:  # noqa: ARG002 - rows have no names there
        self._writer.write(outputs)


class _Sheet:
    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._kept: list[Floats] = []
        self._num_kept = 0

    def write(self, outputs: Floats, ids: Sequence[str] | None) -> None:  # noqa: ARG002 - nor on a sheet
        self._num_kept += len(outputs)
        if self._num_kept > MAX_ON_SHEET:
            raise click.UsageError(f"a sheet holds at most {MAX_ON_SHEET} pictures; name a folder for a PNG of each")
        self._kept.append(outputs)

    def to_png(self) -> bytes:
        return images.to_png(np.concatenate(self._kept), self._spec) if self._kept else b""


class _Folder:
    """A PNG for each output: under the name of its id, as a PNG, else under its number."""

    def __init__(self, folder: Path, spec: InputSpec) -> None:
        self._folder = folder
        self._spec = spec
        self._num_written = 0

    def write(self, outputs: Floats, ids: Sequence[str] | None) -> None:
        for row, output in enumerate(outputs):
            path = self._path(None if ids is None else ids[row])
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                file.write(images.to_png(output[None], self._spec))
            self._num_written += 1

    def _path(self, name: str | None) -> Path:
        """Inside of the folder, whatever an id says: it comes from a file that anybody may have written."""
        parts = [] if name is None else [part for part in PurePosixPath(name).parts if part not in ("/", "..", ".")]
        if not parts:
            return self._folder / f"{self._num_written:06d}.png"
        return self._folder.joinpath(*parts).with_suffix(".png")


def _require_pictures(spec: InputSpec) -> None:
    is_picture = len(spec.shape) == 2 or (len(spec.shape) == 3 and spec.shape[2] == 3)
    if not is_picture:
        raise click.UsageError(f"outputs of shape {list(spec.shape)} are no pictures; name a .npy file")
