"""Errors of training.

TrainingError
├── ConfigError             an option that is wrong, or does not fit the others
│   └── NotStackable        runs that can be trained alone, but not in one computation
├── DataError               data that is missing, unreadable or unfit to train on
│   ├── DataCorrupted       a file whose content is not the published one, or is damaged
│   └── DownloadFailed      published data that could not be fetched
├── RunError                a run's folder or checkpoint that cannot be used
│   ├── TrainingDiverged    a loss that is no longer a number
│   └── ProcessLost         another process that trained the same model is gone
├── EvaluationError         a model or inputs that cannot be measured
└── ExportRefused           a model that cannot be exported, or whose graphs are not the model
"""


class TrainingError(Exception):
    """Anything this package raises on purpose. The message is one or two sentences that say what to do."""


class ConfigError(TrainingError):
    """An option of the configuration is wrong, or does not fit the others."""


class NotStackable(ConfigError):
    """Runs cannot be computed together; each of them can be trained alone."""


class DataError(TrainingError):
    """Data to train on is missing, unreadable, or not of a form that can be learned."""


class DataCorrupted(DataError):
    """A file does not hold what its checksum or its own header promises."""


class DownloadFailed(DataError):
    """Published data could not be fetched from any of its hosts."""


class RunError(TrainingError):
    """The folder of a run, or a checkpoint in it, cannot be read, written or continued."""


class TrainingDiverged(RunError):
    """A term of the loss became infinite or not a number. The last good checkpoint is kept."""


class ProcessLost(RunError):
    """Another process that trains the same model ended or cannot be reached; this one cannot go on without it."""


class EvaluationError(TrainingError):
    """An option of an evaluation, its inputs or the model make no number that means anything."""


class ExportRefused(TrainingError):
    """A model cannot be exported as it is, or its graphs do not compute what the model computes."""
