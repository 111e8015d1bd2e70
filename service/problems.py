"""The one table from error to status, and the shape of an error's body: RFC 9457 problem details; below `/v2`, what the
Open Inference Protocol says, `{"error": "<sentence>"}`, with the same statuses but for 422, for which it has 400.

A body is at most MAX_PROBLEM_BYTES long, repeats no more of a request than a clipped value, and says nothing of the
server's inside. What is not in the table is a bug: it is logged with its traceback, and the body holds the request id.
"""

import math
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.errors import (
    AdministrationRefused,
    BodyTooLarge,
    DeadlineExceeded,
    InvalidFields,
    LoadFailed,
    MalformedArray,
    MalformedBody,
    MediaTypeRefused,
    ModelUnavailable,
    NotApplied,
    Overloaded,
    ReplyTypeRefused,
    RepositoryUnreadable,
    ServiceError,
    Unauthorised,
    UnknownModel,
    UnknownVersion,
    UsageUncounted,
    quoted,
)
from service.exchange import Answer, Exchange, exchange_of

PROBLEM_JSON = "application/problem+json"
MAX_PROBLEM_BYTES = 4096
_MAX_DETAIL = 600
_MAX_INSTANCE = 200


class Kind(NamedTuple):
    """Status, the last part of the type's URN, and the title."""

    status: int
    slug: str
    title: str


PROBLEMS: dict[type[ServiceError], Kind] = {
    MalformedBody: Kind(400, "malformed-json", "The body is not valid JSON"),
    MalformedArray: Kind(400, "malformed-npy", "The body is not an npy file of numbers"),
    Unauthorised: Kind(401, "unauthorised", "A key is needed"),
    AdministrationRefused: Kind(403, "administration-refused", "Only an administrator may do this"),
    UsageUncounted: Kind(404, "usage-uncounted", "How these codes are used is not counted"),
    UnknownModel: Kind(404, "unknown-model", "There is no such model"),
    UnknownVersion: Kind(404, "unknown-version", "The model has no such version"),
    ReplyTypeRefused: Kind(406, "not-acceptable", "No type of reply that the request accepts is written here"),
    BodyTooLarge: Kind(413, "body-too-large", "The body is too large"),
    MediaTypeRefused: Kind(415, "unsupported-media-type", "The body's type or encoding is not supported"),
    InvalidFields: Kind(422, "invalid-fields", "The request does not fit"),
    LoadFailed: Kind(422, "load-failed", "The model's highest version was refused"),
    ModelUnavailable: Kind(503, "model-unavailable", "The model was refused when it was loaded"),
    RepositoryUnreadable: Kind(503, "repository-unreadable", "The model repositories cannot be looked at just now"),
    NotApplied: Kind(503, "not-applied", "Not every worker has done it"),
    Overloaded: Kind(503, "overloaded", "More requests wait than the service can answer soon"),
    DeadlineExceeded: Kind(504, "deadline-exceeded", "The request's deadline came before its answer"),
}
UNKNOWN_ROUTE = Kind(404, "unknown-route", "There is nothing at this path")
METHOD_NOT_ALLOWED = Kind(405, "method-not-allowed", "The path does not take this method")
BUG = Kind(500, "internal-error", "The service failed")


def speaks_open_inference(path: str) -> bool:
    """Whether errors at this path are those of the Open Inference Protocol."""
    return path == "/v2" or path.startswith("/v2/")


def problem(
    exchange: Exchange,
    kind: Kind,
    detail: str,
    errors: tuple[Any, ...] = (),
    headers: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """The reply. `errors` are FieldErrors; the first is also told at the top level, where it is easy to read."""
    detail = detail if len(detail) <= _MAX_DETAIL else detail[: _MAX_DETAIL - 3] + "..."
    path = exchange.scope["path"]
    if speaks_open_inference(path):
        status = 400 if kind.status == 422 else kind.status
        return Answer(orjson.dumps({"error": detail}), "application/json", status, headers)
    body: dict[str, Any] = {
        "type": f"urn:latent-codes:problem:{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": quote(path)[:_MAX_INSTANCE],
        "request_id": exchange.request_id,
    }
    listed = [{"field": error.field, "expected": error.expected, "received": error.received} for error in errors]
    body |= listed[0] if listed else {}
    while len(listed) > 1:
        content = orjson.dumps(body | {"errors": listed})
        if len(content) <= MAX_PROBLEM_BYTES:
            break
        listed.pop()
    else:
        content = orjson.dumps(body)
    return Answer(content, PROBLEM_JSON, kind.status, headers)


def install(app: FastAPI) -> None:
    """Answer the errors of the framework with problems; those of the service pass through it to the edge."""
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _disconnected)


def answer_to(exchange: Exchange, error: ServiceError) -> Answer | None:
    """The problem that the table has for an error; None if it has none, which is a bug."""
    kind = PROBLEMS.get(type(error))
    if kind is None:
        return None
    errors = error.errors if isinstance(error, InvalidFields) else ()
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, Overloaded):
        headers = (("Retry-After", str(max(1, math.ceil(error.retry_after_seconds)))),)
    if isinstance(error, Unauthorised):
        headers = (("WWW-Authenticate", "Bearer"),)
    return problem(exchange, kind, str(error), errors, headers)


def cause_of(error: ServiceError) -> str:
    """The word for an error, the last part of its type's URN."""
    return PROBLEMS.get(type(error), BUG).slug


def answer_to_bug(exchange: Exchange) -> Answer:
    """The reply to a request that failed in a way that nobody foresaw."""
    return problem(exchange, BUG, "this is a bug of the service; its log has more under the request id")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    exchange = exchange_of(request.scope)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"expected {allowed or 'another method'}, received {quoted(request.method)}"
        answer = problem(exchange, METHOD_NOT_ALLOWED, detail, headers=(("Allow", allowed),))
    elif error.status_code == 404:
        answer = problem(exchange, UNKNOWN_ROUTE, "the routes are described at /docs and in /openapi.json")
    else:
        kind = Kind(error.status_code, "http-error", "The request was refused")
        answer = problem(exchange, kind, str(error.detail))
    return answer.to_response()


async def _disconnected(_request: Request, _error: Exception) -> Response:
    """Nobody reads this: the caller left before the body was complete."""
    return Response(status_code=400)
