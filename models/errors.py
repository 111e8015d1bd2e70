"""Errors of the contract.

ModelsError
├── CodeError               a code, or its packed form, that does not fit its layout
├── CodeFileError           a file of codes that cannot be read
│   └── WrongModel          codes that another model made
├── ManifestError           a manifest that cannot be read or contradicts itself
└── RepositoryError
    ├── ModelNotFound       no such model or version
    ├── ModelCorrupted      files that are missing, altered or unreadable
    └── PublishRefused      a model that cannot be written
"""

import errno
import os

_ADVICE = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there, or have the quota raised",
    errno.EROFS: "mount it writable, or name another folder",
    errno.EACCES: "let the user {user} in, or name another folder",
    errno.EPERM: "let the user {user} in, or name another folder",
}


def cause_of(error: OSError) -> str:
    """What the operating system said and, where that is known, what to do about it."""
    said = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "").format(user=os.getuid() if hasattr(os, "getuid") else "of this process")
    return f"{said}; {advice}" if advice else said


class ModelsError(Exception):
    """Anything this package raises on purpose."""


class CodeError(ModelsError):
    """A code, or its packed form, does not fit the layout it is read with."""


class CodeFileError(ModelsError):
    """A file is not one of codes, is damaged, or contradicts itself."""


class WrongModel(CodeFileError):
    """The codes were made by another model than the one that is to decode them."""


class ManifestError(ModelsError):
    """A manifest is not valid JSON, lacks or misnames a field, or contradicts itself."""


class RepositoryError(ModelsError):
    """Something about a model repository on disk."""


class ModelNotFound(RepositoryError):
    """The repository holds no model, or no version, of that name."""


class ModelCorrupted(RepositoryError):
    """A file of a model is missing, unreadable, or not the one its manifest vouches for."""


class PublishRefused(RepositoryError):
    """A model cannot be written to the repository."""
