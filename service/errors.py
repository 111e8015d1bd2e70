"""Errors of the service. What each means in HTTP is said in `problems`, and nowhere else.

ServiceError
├── StartRefused              the process must not start
│   ├── SettingsRefused       an environment variable that is unknown or does not fit
│   ├── RepositoryMissing     a model repository that was asked for by name and is not there, or cannot be read
│   ├── DeviceUnavailable     device=cuda, and sessions would not run on CUDA
│   ├── AddressUnavailable    host and port cannot be listened on
│   ├── KeysRefused           keys that cannot be read, or are no good
│   └── TracingUnavailable    traces should be exported, and what exports them is not installed
├── ModelRefused              a model on disk that must not be served
│   ├── GraphRefused          a graph that is not what the manifest promises
│   └── GoldenMismatch        this host does not reproduce the model's golden vectors
├── NotServed                 a request for something that is not here
│   ├── UnknownModel
│   ├── UnknownVersion
│   ├── ModelUnavailable      it is on disk, and was refused when it was loaded
│   └── UsageUncounted        how codes are used, of a model with too many symbols to count
├── RepositoryUnreadable      the model repositories cannot be looked at just now
├── LoadFailed                a model was to be loaded, and its highest version was refused
├── NotApplied                a worker has not done what all were told
├── JobRefused                a bulk job that cannot begin
├── JobFailed                 a bulk job that cannot go on
├── NotAdmitted               the caller may not do this
│   ├── Unauthorised          a key is needed, and none or an unknown one came
│   └── AdministrationRefused an administrator's key is needed, and another one came, or there is none at all
├── BodyRefused               a body that was not even read
│   ├── BodyTooLarge
│   ├── MediaTypeRefused
│   ├── MalformedBody
│   └── MalformedArray        a body that is no npy file, or of what is no number
├── ReplyTypeRefused          the request was understood; no type of reply that it accepts is written here
├── InvalidFields             a request that was understood, and whose values do not fit
├── TurnedAway                a sound request that is not worked on now
│   ├── Overloaded            as many rows wait already as may
│   └── DeadlineExceeded      its deadline came before its turn
├── FileRefused               a file of inputs or codes that cannot be used; the message names it
└── CommandFailed             the command line cannot do what was asked
    ├── RemoteFailed          the service that was asked did not answer, or failed
    └── PackageMissing        an optional package is not installed
"""

import math
from dataclasses import dataclass

_SHOWN = 40


class ServiceError(Exception):
    """Anything this package raises on purpose."""


class StartRefused(ServiceError):
    """The process must not start; the message is one sentence for whoever started it."""


class SettingsRefused(StartRefused):
    """An environment variable is unknown or does not fit."""


class RepositoryMissing(StartRefused):
    """A model repository was named and is not a folder, or one of them cannot be read."""


class DeviceUnavailable(StartRefused):
    """The device was demanded and ONNX Runtime does not run on it."""


class AddressUnavailable(StartRefused):
    """Host and port cannot be listened on."""


class KeysRefused(StartRefused):
    """A list of keys cannot be read, or holds what is no good as a key; the message repeats no key."""


class TracingUnavailable(StartRefused):
    """Traces should be exported, and the packages that export them are not installed."""


class ModelRefused(ServiceError):
    """A model on disk that must not be served; the message names the graph or vector and the cause."""


class GraphRefused(ModelRefused):
    """A graph cannot be loaded, holds what it must not, or is not what the manifest promises."""


class GoldenMismatch(ModelRefused):
    """On this host and provider the golden vectors of the manifest do not come out."""


class NotServed(ServiceError):
    """A request names something that is not served."""


class UnknownModel(NotServed):
    """No model of that name was found."""


class UnknownVersion(NotServed):
    """The model has no such version."""


class ModelUnavailable(NotServed):
    """The version asked for was found and refused."""


class UsageUncounted(NotServed):
    """How the codes of this model are used is not counted."""


class NotAdmitted(ServiceError):
    """A request that its caller may not make. The message repeats no key."""


class Unauthorised(NotAdmitted):
    """A key is needed, and none, or one that is not known, came."""


class AdministrationRefused(NotAdmitted):
    """An administrator's key is needed."""


class RepositoryUnreadable(ServiceError):
    """The model repositories cannot be looked at just now."""


class LoadFailed(ServiceError):
    """A model was to be loaded, and its highest version was refused; what was served before still is."""


class NotApplied(ServiceError):
    """A worker has not done what all were told, or not in time."""


class JobRefused(ServiceError):
    """A bulk job cannot begin; the message is one sentence that says what to do."""


class JobFailed(ServiceError):
    """A bulk job cannot go on; what was done by then stays done."""


class BodyRefused(ServiceError):
    """A request body that was not read."""


class BodyTooLarge(BodyRefused):
    """The body is longer than the limit."""


class MediaTypeRefused(BodyRefused):
    """The body's type or encoding is not one that the route reads."""


class MalformedBody(BodyRefused):
    """The body is not a JSON document."""


class MalformedArray(BodyRefused):
    """The body is not an npy file, or one of something else than numbers."""


class ReplyTypeRefused(ServiceError):
    """Accept names no type in which the route writes this reply."""


class TurnedAway(ServiceError):
    """Nothing is wrong with the request, and nothing was done for it."""


class Overloaded(TurnedAway):
    """The queue is full."""

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        """`retry_after_seconds` is how long what waits now is likely to take."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceeded(TurnedAway):
    """The deadline passed while the request waited; its work was not begun, or not continued."""


@dataclass(frozen=True)
class FieldError:
    """One field that does not fit; `field` is a path such as `inputs[3][17]`. Values from outside are clipped."""

    field: str
    expected: str
    received: str

    def __str__(self) -> str:
        return f"{self.field}: expected {self.expected}, received {self.received}"


class InvalidFields(ServiceError):
    """The values of a request do not fit the model or the limits."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(str(error) for error in errors))
        self.errors = errors


class FileRefused(ServiceError):
    """A file, or one part of it, cannot be read as inputs or codes."""


class CommandFailed(ServiceError):
    """The command line, which uses this package or a running service, cannot go on."""


class RemoteFailed(CommandFailed):
    """A running service was asked, and did not answer, failed, or refused for a reason that no input has."""


class PackageMissing(CommandFailed):
    """What was asked needs a package that an extra would install."""


def invalid(field: str, expected: str, received: str) -> InvalidFields:
    """The error of a single field."""
    return InvalidFields(FieldError(field, expected, received))


def shown(value: object) -> str:
    """A short ASCII description of a value from outside, as JSON would spell it where it is short."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case int() if value.bit_length() > 64:
            return f"an integer of {value.bit_length()} bits"
        case int() | float():
            return repr(value)
        case str():
            return quoted(value)
        case list() | tuple():
            return f"a list of {len(value)}"
        case dict():
            return "an object"
        case _:
            return f"a value of type {type(value).__name__}"


def quoted(text: str) -> str:
    """A name from outside between quotes: ASCII, and clipped."""
    return ascii(text) if len(text) <= _SHOWN else f"{text[: _SHOWN - 10]!a}... ({len(text)} characters)"
