"""Errors of the client.

ClientError
├── InvalidArgument        noticed before it was sent; also a ValueError
├── NoReply                the service did not answer
│   ├── ConnectionFailed   it cannot be reached, or the connection broke off
│   └── TimedOut           not within the timeout
├── InvalidReply           something answered, in a way that this service does not
└── ServiceError           the service answered with an error, and said which
    ├── RequestRefused     4xx: sending it again will not help
    │   ├── NotAllowed     401, 403: a key is missing or may not do this
    │   └── NotFound       404: no such model or version
    ├── Unavailable        429, 503: sending it again later may help
    └── ServiceFailed      any other 5xx
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self


class ClientError(Exception):
    """Anything this package raises on purpose."""


class InvalidArgument(ClientError, ValueError):
    """An argument that no service could accept; it was not sent."""


class NoReply(ClientError):
    """The service did not answer. Whether it did the work is unknown; asking again is safe, since nothing is kept."""


class ConnectionFailed(NoReply):
    """The service cannot be reached, or the connection broke off."""


class TimedOut(NoReply):
    """The service did not answer within the timeout."""


class InvalidReply(ClientError):
    """What answered is not this service, or is a version of it that this client does not understand."""


@dataclass(frozen=True)
class FieldError:
    """One field of the request that does not fit."""

    field: str
    """A path such as `inputs[3][17]`."""
    expected: str
    received: str
    source: str | None = None
    """The file that the row came from, if it came from one."""


@dataclass(frozen=True)
class Problem:
    """What an error reply says (RFC 9457, and the service's own members). What was not said is None or empty."""

    status: int
    type: str = "about:blank"
    title: str | None = None
    detail: str | None = None
    request_id: str | None = None
    """Find the request by it in the service's log."""
    errors: Sequence[FieldError] = ()
    """Every field that does not fit, as far as the service looked."""


class ServiceError(ClientError):
    """The service answered with an error; `problem` is what it said."""

    def __init__(self, problem: Problem, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(_sentence(problem))
        self.problem = problem
        self.retry_after_seconds = retry_after_seconds
        """When the service suggests to ask again; None if it does not."""

    @property
    def status(self) -> int:
        return self.problem.status

    @property
    def title(self) -> str | None:
        return self.problem.title

    @property
    def detail(self) -> str | None:
        return self.problem.detail

    @property
    def request_id(self) -> str | None:
        return self.problem.request_id

    @property
    def field(self) -> str | None:
        """The first field that does not fit."""
        return self.problem.errors[0].field if self.problem.errors else None

    @property
    def expected(self) -> str | None:
        """What was expected of `field`."""
        return self.problem.errors[0].expected if self.problem.errors else None

    @property
    def received(self) -> str | None:
        """What `field` was instead."""
        return self.problem.errors[0].received if self.problem.errors else None

    @property
    def source(self) -> str | None:
        """The file that the row at fault came from, if it came from one."""
        return self.problem.errors[0].source if self.problem.errors else None

    def of_rows(self, first_row: int, name_of: Callable[[int], str | None]) -> Self:
        """The same error, of a request for rows `first_row ..`, with rows counted as the caller counts them."""

        def moved(place: re.Match[str]) -> str:
            return f"{place[1]}[{int(place[2]) + first_row}]"

        def placed(error: FieldError) -> FieldError:
            found = _ROW.match(error.field)
            source = name_of(int(found[2])) if found is not None else None
            return replace(error, field=_ROW.sub(moved, error.field), source=source)

        errors = tuple(placed(error) for error in self.problem.errors)
        detail = self.problem.detail
        if detail is not None:
            detail = _ROW.sub(moved, detail)
            if errors and errors[0].source is not None:
                detail = f"{errors[0].source}: {detail}"
        problem = replace(self.problem, detail=detail, errors=errors)
        return type(self)(problem, retry_after_seconds=self.retry_after_seconds)


_ROW = re.compile(r"\b(inputs|codes|relaxed|images)\[(\d+)\]")


class RequestRefused(ServiceError):
    """The request does not fit; sending it again will not help."""


class NotAllowed(RequestRefused):
    """A key is missing, unknown, or may not do this."""


class NotFound(RequestRefused):
    """The service has no such model or version."""


class Unavailable(ServiceError):
    """The service, or this model, takes no requests at the moment; see `retry_after_seconds`."""


class ServiceFailed(ServiceError):
    """The service, or something before it, failed."""


def _sentence(problem: Problem) -> str:
    told = problem.detail or problem.title or "no explanation"
    request = f" (request {problem.request_id})" if problem.request_id else ""
    return f"HTTP {problem.status}: {told}{request}"
