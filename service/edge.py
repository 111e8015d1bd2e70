"""The one layer in front of all routes: everything that happens to every request, in the order it happens.

    1. The request gets its id: it goes back in the header X-Request-ID, into problem bodies, and into the log.
    2. `admission` lets it in, and says until when an answer is of use.
    3. It is answered: by the application with its router or, where microseconds count, by a direct route, which the
       connection finds and calls itself (`service.process.connections`). The application has the direct routes too,
       which documents them, and answers whatever is unusual about a request.
    4. What was raised on purpose becomes a problem; what nobody foresaw is logged with its traceback, and answered
       without any of it.
    5. It is counted and timed, and has its line in the access log and its span where these are asked for.

One layer and not a stack of middlewares: each of those costs as much as reading a request.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import problems
from service.admission import Admission
from service.errors import ServiceError
from service.exchange import REQUEST_ID, Answer, Exchange
from service.observation.access_log import AccessLog
from service.observation.metrics import Metrics, template_of
from service.observation.tracing import Tracing

_LEFT = 499
"""Counted as the status of a request whose caller left before there was an answer."""
_KNOWN_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

_NOSNIFF = "X-Content-Type-Options"
_HEAD = "content-type: %s\r\ncontent-length: %d\r\nx-request-id: %s\r\nx-content-type-options: nosniff\r\n"
_PAGE = {
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
# The page of FastAPI starts Swagger UI with a script and styles in line.
_DOCS_POLICY = f"{_POLICY}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"

DirectRoute = Callable[[Exchange], Awaitable[Answer]]
FindDirectRoute = Callable[[str], DirectRoute | None]
"""A path to the route of a POST to it; None where it has no direct one."""

_logger = logging.getLogger(__name__)


class Watch(NamedTuple):
    """What hears of every request."""

    metrics: Metrics
    access_log: AccessLog
    tracing: Tracing


class Reply(NamedTuple):
    """An answer as a connection sends it."""

    status: int
    head: bytes
    """Lines of headers, each with its end."""
    content: bytes


class Edge:
    """Around an application, and around routes that are called without it."""

    def __init__(self, admission: Admission, watch: Watch, direct_routes: Sequence[FindDirectRoute] = ()) -> None:
        """The first of `direct_routes` that has a path answers."""
        self._admission = admission
        self._watch = watch
        self._direct_routes = direct_routes

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application with the edge in front of it; what is not HTTP is its business alone."""

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await self._answer_by(app, scope, receive, send)
            else:
                await app(scope, receive, send)

        return application

    def find(self, path: str) -> DirectRoute | None:
        """The direct route of a POST to a path, or None."""
        return next((route for find in self._direct_routes if (route := find(path)) is not None), None)

    async def answer(self, exchange: Exchange, route: DirectRoute) -> Reply:
        """Answer one request by a direct route. Raises ClientDisconnect when its caller leaves."""
        start, status = time.perf_counter(), _LEFT
        path = exchange.scope["path"]
        watch = self._watch
        watch.metrics.in_flight.add()
        try:
            if watch.tracing.enabled:
                with watch.tracing.span(exchange) as span:
                    answer = await self._answered(exchange, route)
                    span.end_with(answer.status, template_of(path)[0])
            else:
                answer = await self._answered(exchange, route)
            status = answer.status
        finally:
            watch.metrics.in_flight.add(amount=-1.0)
            self._count(exchange, status, template_of(path), time.perf_counter() - start)
        head = _HEAD % (answer.media_type, len(answer.content), exchange.request_id)
        for line in answer.headers:
            head += "{}: {}\r\n".format(*line)
        return Reply(status, head.encode("latin-1"), answer.content)

    async def _answered(self, exchange: Exchange, route: DirectRoute) -> Answer:
        try:
            self._admission.admit(exchange)
            return await route(exchange)
        except ClientDisconnect:
            raise
        except Exception as error:  # the process must go on serving others
            return self._problem(exchange, error)

    async def _answer_by(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request by the application."""
        start = time.perf_counter()
        exchange, status = Exchange(scope, receive), _LEFT
        scope.setdefault("state", {})["exchange"] = exchange

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _complete(MutableHeaders(scope=message), scope["path"], exchange.request_id)
            await send(message)

        async def answer() -> None:
            try:
                self._admission.admit(exchange)
                await app(scope, receive, send_named)
            except ClientDisconnect:
                pass  # nobody reads an answer
            except Exception as error:  # the process must go on serving others
                problem = self._problem(exchange, error)
                if status != _LEFT:
                    raise
                await problem.to_response()(scope, receive, send_named)

        watch = self._watch
        watch.metrics.in_flight.add()
        try:
            if watch.tracing.enabled:
                with watch.tracing.span(exchange) as span:
                    await answer()
                    span.end_with(status, _route_of(scope)[0])
            else:
                await answer()
        finally:
            watch.metrics.in_flight.add(amount=-1.0)
            self._count(exchange, status, _route_of(scope), time.perf_counter() - start)

    def _problem(self, exchange: Exchange, error: Exception) -> Answer:
        """What a request is answered that raised this; counted, and logged where it is a bug."""
        answer = problems.answer_to(exchange, error) if isinstance(error, ServiceError) else None
        cause = problems.cause_of(error) if isinstance(error, ServiceError) else problems.BUG.slug
        self._watch.metrics.rejected.add((cause,))
        if answer is None:
            _logger.error("request %s failed; this is a bug", exchange.request_id, exc_info=error)
            answer = problems.answer_to_bug(exchange)
        return answer

    def _count(self, exchange: Exchange, status: int, at: tuple[str, str], seconds: float) -> None:
        """`at`: the template of the route, and the model that the path names; empty where there is none."""
        route, model = at
        scope = exchange.scope
        method = scope["method"]
        if status == 404:
            # A model that is not there is a name that anybody may invent.
            model = ""
        labels = (route, model, method if method in _KNOWN_METHODS else "other", str(status))
        self._watch.metrics.duration.observe(labels, seconds)
        if self._watch.access_log.enabled:
            self._watch.access_log.write(
                time=time.time(),
                request_id=exchange.request_id,
                method=method,
                route=route,
                model=model or None,
                rows=exchange.num_rows,
                status=status,
                milliseconds=round(seconds * 1000, 3),
                caller=exchange.caller,
                client=scope["client"][0] if scope.get("client") else None,
                traceparent=exchange.header(b"traceparent")[:64] or None,
            )


def _complete(headers: MutableHeaders, path: str, request_id: str) -> None:
    headers[REQUEST_ID] = request_id
    headers[_NOSNIFF] = "nosniff"
    if headers.get("content-type", "").startswith("text/html"):
        headers.update(_PAGE)
        # A page that says more strictly what it needs is believed.
        headers.setdefault("Content-Security-Policy", _DOCS_POLICY if path.startswith("/docs") else _POLICY)


def _route_of(scope: Scope) -> tuple[str, str]:
    """The template of the route that the application found, and the model that the path names; empty without one."""
    path = getattr(scope.get("route"), "path", "")
    return path, scope.get("path_params", {}).get("model", "") if path else ""
