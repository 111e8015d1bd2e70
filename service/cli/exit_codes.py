"""The one table from error to exit status of `latent-codes`. `docs/cli.md` has the same for its users."""

from enum import IntEnum

from models.errors import CodeError, CodeFileError, ModelCorrupted, ModelsError, RepositoryError, cause_of
from service.errors import (
    FileRefused,
    InvalidFields,
    JobRefused,
    ModelRefused,
    NotServed,
    PackageMissing,
    RemoteFailed,
    ServiceError,
    StartRefused,
)


class ExitCode(IntEnum):
    """What became of a command. 1 and 2 mean what they mean everywhere."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    SKIPPED = 3
    REFUSED = 4
    UNAVAILABLE = 5
    INTERRUPTED = 130
    READER_GONE = 141
    TERMINATED = 143


MEANINGS: dict[ExitCode, str] = {
    ExitCode.DONE: "everything was done",
    ExitCode.FAILED: "reading or writing failed here: a full disk, a folder that may not be written; or a bug",
    ExitCode.USAGE: "the command line does not fit; nothing was done",
    ExitCode.SKIPPED: "done, but for inputs that could not be used: each is named on standard error with its cause",
    ExitCode.REFUSED: "an input or file does not fit: unreadable, of another shape or range, codes of another model",
    ExitCode.UNAVAILABLE: "what is needed is not there: the model, the service, the device, an optional package",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C; a file that was being written is as it was before",
    ExitCode.READER_GONE: "whoever read the output, `head` say, had enough",
    ExitCode.TERMINATED: "ended with SIGTERM; a file that was being written is as it was before",
}

# The first that fits.
_OF_ERRORS: tuple[tuple[type[Exception], ExitCode], ...] = (
    (FileRefused, ExitCode.REFUSED),
    (InvalidFields, ExitCode.REFUSED),
    (CodeError, ExitCode.REFUSED),
    (CodeFileError, ExitCode.REFUSED),
    (JobRefused, ExitCode.REFUSED),
    (NotServed, ExitCode.UNAVAILABLE),
    (RemoteFailed, ExitCode.UNAVAILABLE),
    (PackageMissing, ExitCode.UNAVAILABLE),
    (StartRefused, ExitCode.UNAVAILABLE),
    (ModelRefused, ExitCode.UNAVAILABLE),
    (ModelCorrupted, ExitCode.UNAVAILABLE),
    (RepositoryError, ExitCode.UNAVAILABLE),
    (ServiceError, ExitCode.FAILED),
    (ModelsError, ExitCode.FAILED),
    (OSError, ExitCode.FAILED),
)
EXPECTED_ERRORS = tuple(error for error, _ in _OF_ERRORS)


def exit_code_of(error: Exception) -> ExitCode:
    """Of one of EXPECTED_ERRORS."""
    return next(code for kind, code in _OF_ERRORS if isinstance(error, kind))


def sentence_of(error: Exception) -> str:
    """What is told of it."""
    if isinstance(error, OSError):
        return f"{error.filename or 'reading or writing'}: {cause_of(error)}"
    return str(error)
