"""Files that appear whole or not at all."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{16}\.partial")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` in one rename when the block ends without an error.

    Until then, and for good if the block raises, what was at `path` stays as it was. Raises OSError, which names `path`
    where the system names no file: a full disk is noticed in a write.
    """
    # Its name is known before there is a file: an interrupt may come between the two.
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}.partial"
    try:
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(FileNotFoundError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


def is_unfinished(name: str) -> bool:
    """Whether a file of this name is one that `replacing` is writing, or was when its process was killed."""
    return _UNFINISHED.fullmatch(name) is not None
