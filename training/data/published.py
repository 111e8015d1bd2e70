"""Files that somebody published: found in a folder, or downloaded; in either case compared with their checksum."""

import http.client
import logging
import os
import tempfile
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from training.data.config import DataConfig
from training.errors import DataCorrupted, DataError, DownloadFailed

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_FILE_BYTES = 256 << 20
"""No file of these data sets comes near it: more is not what was asked for."""

_TIMEOUT_SECONDS = 30.0  # without a single byte, not for the whole file
_CHUNK_BYTES = 1 << 20


def folders_of(config: DataConfig) -> list[Path]:
    """Where files of that data may lie: in `path` or its sub-folder of the data's name, else in that of the cache.

    The sub-folder may be spelt with underscores. Raises DataError when `path` is given and is no folder.
    """
    names = list(dict.fromkeys((config.name, config.name.replace("-", "_"))))
    root = config.location
    if root is None:
        return [Path(config.cache).expanduser() / name for name in names]
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise DataError(
            f"data.path: expected a folder with the files of {config.name}, found {found} at {str(root)!r}; correct "
            "the path, or leave it out to download them"
        )
    return [root, *(root / name for name in names)]


def find(names: Sequence[str], folders: Sequence[Path]) -> Path | None:
    """The first file of one of these names, folder by folder."""
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)


def read_file(path: Path) -> bytes:
    """Content of a file. Raises DataError when it cannot be read, or is larger than any file of these data sets."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise DataCorrupted(f"{path}: expected at most {MAX_FILE_BYTES} bytes, got more")
    return content


def read_or_download(
    config: DataConfig,
    *,
    names: Sequence[str],
    all_names: Sequence[str],
    mirrors: Sequence[str],
    decode: Callable[[bytes, str], T],
) -> T:
    """The decoded content of a file: from `data.path` if given, else from the cache, else downloaded into the cache.

    `names`: what the file may be called, the name it is downloaded under first. `mirrors`: addresses of folders that
    hold it, tried in turn. `decode` takes the content and the name, verifies it and raises DataCorrupted. `all_names`
    are those of the whole data set, so that a person who must fetch the files by hand learns of all of them at once.
    """
    folders = folders_of(config)
    path = find(names, folders)
    if path is not None:
        try:
            return decode(read_file(path), path.name)
        except DataCorrupted as error:
            remedy = "give the original file" if config.path else "delete it, and it will be downloaded again"
            raise DataCorrupted(f"{path}: {error}; {remedy}") from error
    wanted = ", ".join(all_names)
    if config.path is not None:
        raise DataError(
            f"data.path: expected {' or '.join(names)} in {str(folders[0])!r} or in its sub-folder {config.name!r}, "
            f"found neither; put the files there ({wanted}), or leave data.path out to download them"
        )
    return _download(
        names[0],
        mirrors=mirrors,
        folder=folders[0],
        decode=decode,
        remedy=(
            f"Without internet access, put the files of {config.name} ({wanted}) into a folder and set data.path to it"
        ),
    )


def _download(name: str, *, mirrors: Sequence[str], folder: Path, decode: Callable[[bytes, str], T], remedy: str) -> T:
    """Fetch, verify, then store: what lies in the cache under its own name has been verified."""
    failures = []
    for mirror in mirrors:
        url = mirror + name
        logger.info("downloading %s", url)
        try:
            content = _fetch(url)
            decoded = decode(content, name)
        except (OSError, http.client.HTTPException, DataCorrupted) as error:
            logger.warning("%s: %s", url, error)
            failures.append(f"{url}: {error}")
            continue
        _store(content, folder / name)
        return decoded
    raise DownloadFailed(f"cannot download {name} ({'; '.join(failures)}). {remedy}.")


def _fetch(url: str) -> bytes:
    if urlsplit(url).scheme not in ("https", "http"):
        raise DownloadFailed(f"{url}: expected an address that begins with https:// or http://. This is a bug.")
    request = urllib.request.Request(url, headers={"User-Agent": "latent-codes"})  # noqa: S310  # scheme checked above
    content = bytearray()
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as reply:  # noqa: S310  # scheme checked above
        while chunk := reply.read(_CHUNK_BYTES):
            content += chunk
            if len(content) > MAX_FILE_BYTES:
                raise DataCorrupted(f"expected at most {MAX_FILE_BYTES} bytes, got more")
    return bytes(content)


def _store(content: bytes, path: Path) -> None:
    """Write under a temporary name, then rename: an interrupted download leaves nothing that looks whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".downloading-", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DataError(
            f"data.cache: cannot write to {str(path.parent)!r}: {error.strerror}; set data.cache to a folder that can "
            "be written"
        ) from error
