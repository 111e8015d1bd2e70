"""Files that appear whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_SUFFIX = ".partial"


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` in one rename when the block ends without an error.

    Until then, and for good if the block raises, what was at `path` stays as it was. Raises OSError, which names `path`
    where the system names no file: a full disk is noticed in a write.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_SUFFIX, dir=path.parent)
    temporary = Path(name)
    try:
        with open(descriptor, "w+b") as file:  # noqa: PTH123 - a descriptor has no path
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; this one gets the rights that open() would have given it.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException as error:
        with suppress(FileNotFoundError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


def is_unfinished(name: str) -> bool:
    """Whether a file of this name is one that `replacing` is writing, or was when its process was killed."""
    return name.startswith(".") and name.endswith(_SUFFIX)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
