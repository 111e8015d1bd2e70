"""Where a bulk job writes: a folder, or a prefix of an object store, in which files appear whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow.fs as pafs

from models.atomic_files import is_unfinished, replacing
from service.bulk.sources import filesystem_of, first_line
from service.errors import JobRefused

_SPOOLED_BYTES = 64 << 20
"""What is on its way to an object store is kept in memory up to here, and in a temporary file beyond."""


class Destination:
    """A folder by its URI or path; it is made if it is not there."""

    def __init__(self, uri: str) -> None:
        """Raises JobRefused when it cannot be made."""
        self.uri = uri
        self._filesystem, self._base = filesystem_of(uri)
        try:
            self._filesystem.create_dir(self._base, recursive=True)
        except OSError as error:
            raise JobRefused(f"{uri}: cannot be made: {first_line(error)}") from error

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write, which is there under its name when the block ends without an error. Raises OSError."""
        path = f"{self._base.rstrip('/')}/{name}"
        if isinstance(self._filesystem, pafs.LocalFileSystem):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with replacing(Path(path)) as file:
                yield file
            return
        # An upload that is closed is complete, also after an error: so nothing is sent before everything is there.
        with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES) as spooled:
            yield cast("BinaryIO", spooled)
            spooled.seek(0)
            with self._filesystem.open_output_stream(path) as upload:
                shutil.copyfileobj(spooled, upload, 1 << 20)

    def write(self, name: str, content: bytes) -> None:
        """A small file, whole. Raises OSError."""
        with self.writing(name) as file:
            file.write(content)

    def read(self, name: str) -> bytes | None:
        """The content of a small file, or None where there is none. Raises OSError."""
        path = f"{self._base.rstrip('/')}/{name}"
        if self._filesystem.get_file_info(path).type != pafs.FileType.File:
            return None
        with self._filesystem.open_input_stream(path) as file:
            return bytes(file.read())

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Names and sizes in bytes of the files directly in a folder of the destination; none where there is none.

        Without those that were never finished.
        """
        selector = pafs.FileSelector(f"{self._base.rstrip('/')}/{folder}".rstrip("/"), allow_not_found=True)
        infos = self._filesystem.get_file_info(selector)
        files = [info for info in infos if info.type == pafs.FileType.File]
        return {info.base_name: info.size for info in files if not is_unfinished(info.base_name)}

    def delete(self, name: str) -> None:
        """Remove a file, if it is there. Raises OSError."""
        path = f"{self._base.rstrip('/')}/{name}"
        if self._filesystem.get_file_info(path).type == pafs.FileType.File:
            self._filesystem.delete_file(path)

    def delete_unfinished(self, folder: str = "") -> None:
        """Remove what is directly in a folder of the destination of files whose writers were killed. Raises OSError.

        To be called when nobody writes there. In an object store there is nothing of a file before all of it is there.
        """
        if isinstance(self._filesystem, pafs.LocalFileSystem):
            for path in Path(self._base, folder).glob(".*"):
                if is_unfinished(path.name):
                    path.unlink(missing_ok=True)
