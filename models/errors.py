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
