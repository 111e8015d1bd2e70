"""What a bulk job reads, cut into parts that any worker can read alone.

A source is a URI: a file, or a folder searched with its sub-folders, of Parquet, `.npy` or images. Its rows have
numbers, in the order of the files' paths and of the rows in them; the number of a row is what its noise is keyed by.
All that is read here are names, sizes, and the few bytes of each file that say how many rows it has.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from service.bulk import npy
from service.errors import JobRefused

Kind = Literal["parquet", "npy", "images"]

_SUFFIXES: dict[str, Kind] = {
    ".parquet": "parquet",
    ".npy": "npy",
    ".png": "images",
    ".jpg": "images",
    ".jpeg": "images",
}
_NUM_READERS = 16
"""Files opened at a time to count their rows: on an object store each takes a round trip or two."""


@dataclass(frozen=True)
class Slice:
    """Rows `start` to `stop` of one file; of an image, its only one."""

    path: str
    start: int
    stop: int


@dataclass(frozen=True)
class Part:
    """Consecutive rows of a source, the first of them number `first_row`: what one worker does at a time."""

    index: int
    first_row: int
    slices: tuple[Slice, ...]

    @property
    def num_rows(self) -> int:
        return sum(each.stop - each.start for each in self.slices)


@dataclass(frozen=True)
class BadFile:
    """A file that is not what its name says. It has no rows."""

    path: str
    cause: str


@dataclass(frozen=True)
class Source:
    """The files of a source, all of one kind, sorted by path, with the rows of each at which it may be cut."""

    uri: str
    kind: Kind
    files: tuple[tuple[str, tuple[int, ...]], ...]
    """Path, and row counts of its row groups (Parquet) or of the whole."""
    bad: tuple[BadFile, ...]
    fingerprint: str
    """SHA-256 of the paths, sizes and row counts: another one means that rows may have other numbers."""

    @property
    def num_rows(self) -> int:
        return sum(sum(counts) for _, counts in self.files)

    def parts(self, rows_per_part: int) -> list[Part]:
        """Parts of `rows_per_part` rows or a little more where a Parquet row group is not cut; the last may have less.

        A pure function of the source, so that a job that is begun again has the same parts.
        """
        parts: list[Part] = []
        slices: list[Slice] = []
        first_row = waiting = 0
        for piece in self._pieces(rows_per_part):
            slices.append(piece)
            waiting += piece.stop - piece.start
            if waiting >= rows_per_part:
                parts.append(Part(len(parts), first_row, tuple(_joined(slices))))
                first_row, waiting, slices = first_row + waiting, 0, []
        if slices:
            parts.append(Part(len(parts), first_row, tuple(_joined(slices))))
        return parts

    def _pieces(self, rows_per_part: int) -> Iterator[Slice]:
        """The smallest that parts are made of: row groups, images, and of arrays what fills a part."""
        filled = 0
        for path, counts in self.files:
            start = 0
            for count in counts:
                stop = start + count
                if self.kind == "npy":
                    while start < stop:
                        taken = min(stop - start, rows_per_part - filled)
                        yield Slice(path, start, start + taken)
                        start, filled = start + taken, (filled + taken) % rows_per_part
                elif count:
                    yield Slice(path, start, stop)
                start = stop


def row_groups_of(file: pa.NativeFile, _path: str) -> tuple[int, ...]:
    """Rows of each row group of an open Parquet file."""
    metadata = pq.read_metadata(file)
    return tuple(metadata.row_group(at).num_rows for at in range(metadata.num_row_groups))


def open_source(uri: str, count_parquet: Callable[[pa.NativeFile, str], tuple[int, ...]] = row_groups_of) -> Source:
    """Find the files and count their rows. Raises JobRefused when there is nothing, or more than one kind.

    A file that cannot be read, for which `count_parquet` raises ValueError too, is among `bad`; the others are used.
    """
    filesystem, path = filesystem_of(uri)
    found = _files_below(filesystem, path, uri)
    kinds = {_SUFFIXES[PurePosixPath(info.path).suffix.lower()] for info in found}
    if len(kinds) > 1:
        raise JobRefused(f"{uri}: expected files of one kind, found {', '.join(sorted(kinds))}; name a folder of each")
    kind = kinds.pop()
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        counted = list(pool.map(_counter(kind, filesystem, path, count_parquet), found))
    files, bad = [], []
    listing = hashlib.sha256()
    for info, result in zip(found, counted, strict=True):
        counts = result if isinstance(result, tuple) else ()
        name = relative(info.path, path)
        listing.update(f"{name}\0{info.size}\0{counts}\n".encode())
        if isinstance(result, BadFile):
            bad.append(result)
        else:
            files.append((info.path, counts))
    return Source(uri, kind, tuple(files), tuple(bad), listing.hexdigest())


def filesystem_of(uri: str) -> tuple[pafs.FileSystem, str]:
    """What a URI or local path is reached through, and the path within it.

    pyarrow's own file systems (local, s3, gs, hdfs) where they know the scheme, fsspec's elsewhere. Raises JobRefused.
    """
    if "://" not in uri:
        return pafs.LocalFileSystem(), str(PurePosixPath(uri))
    try:
        found: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(uri)
    except pa.ArrowInvalid:
        found = _by_fsspec(uri)
    except (OSError, ValueError) as error:
        raise JobRefused(f"{uri}: cannot be reached: {first_line(error)}") from error
    return found


def relative(path: str, base: str) -> str:
    """The path of a file within its source; of a source that is a single file, the file's name."""
    inside = path.removeprefix(base).lstrip("/")
    return inside or PurePosixPath(path).name


def first_line(error: Exception) -> str:
    """What an error says, short enough for a report."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _by_fsspec(uri: str) -> tuple[pafs.FileSystem, str]:
    try:
        # A file system of its own for each scheme, loaded by those who use one.
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError, OSError) as error:
        raise JobRefused(f"{uri}: cannot be reached: {first_line(error)}") from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), path


def _files_below(filesystem: pafs.FileSystem, path: str, uri: str) -> list[pafs.FileInfo]:
    try:
        at = filesystem.get_file_info(path)
        if at.type == pafs.FileType.NotFound:
            raise JobRefused(f"{uri}: there is nothing; expected a file, or a folder of files")
        everything: Iterable[pafs.FileInfo] = (
            filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
            if at.type == pafs.FileType.Directory
            else [at]
        )
    except OSError as error:
        raise JobRefused(f"{uri}: cannot be listed: {first_line(error)}") from error
    known = [info for info in everything if info.type == pafs.FileType.File and _is_input(relative(info.path, path))]
    if not known:
        raise JobRefused(f"{uri}: expected files that end in {', '.join(_SUFFIXES)}, found none")
    return sorted(known, key=lambda info: info.path)


def _is_input(name: str) -> bool:
    """By its ending; what begins with a dot or an underscore, and what lies below it, is somebody's own business."""
    path = PurePosixPath(name)
    return path.suffix.lower() in _SUFFIXES and not any(part.startswith((".", "_")) for part in path.parts)


def _counter(
    kind: Kind, filesystem: pafs.FileSystem, base: str, count_parquet: Callable[[pa.NativeFile, str], tuple[int, ...]]
) -> Callable[[pafs.FileInfo], tuple[int, ...] | BadFile]:
    def count(info: pafs.FileInfo) -> tuple[int, ...] | BadFile:
        try:
            match kind:
                case "images":
                    return (1,)
                case "npy":
                    with filesystem.open_input_file(info.path) as file:
                        return (npy.read_layout(file, info.size).header.num_rows,)
                case "parquet":
                    with filesystem.open_input_file(info.path) as file:
                        return count_parquet(file, info.path)
        except (pa.ArrowException, OSError, ValueError) as error:
            return BadFile(relative(info.path, base), first_line(error))

    return count


def _joined(slices: Iterable[Slice]) -> Iterator[Slice]:
    """Neighbours of one file as one."""
    last: Slice | None = None
    for each in slices:
        if last is not None and (last.path, last.stop) == (each.path, each.start):
            last = Slice(last.path, last.start, each.stop)
            continue
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield last
