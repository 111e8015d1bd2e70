"""The one layer in front of all routes: everything that happens to every request, in the order it happens.

    1. The request gets its id: the caller's X-Request-ID where it is a sound one, a new one elsewhere. It goes back in
       the same header, into problem bodies, and into the log.
    2. `admission` lets it in, and says until when an answer is of use.
    3. It is answered: by a direct route, which is called at once, or by the application with its router. The direct
       routes are those where microseconds count; the application has them too, which documents them. `Shortcut` finds
       them before the framework's own layers see the request.
    4. What was raised on purpose becomes a problem; what nobody foresaw is logged with its traceback, and answered
       without any of it.
    5. It is counted and timed, and has its line in the access log and its span where these are asked for.

One layer and not a stack of middlewares: each of those costs as much as reading a request.
"""

import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import problems
from service.admission import Admission
from service.errors import ServiceError
from service.exchange import Answer, Exchange
from service.observation.access_log import AccessLog
from service.observation.metrics import Metrics, template_of
from service.observation.tracing import Tracing

REQUEST_ID = "X-Request-ID"
_REQUEST_ID = REQUEST_ID.lower().encode()
_SOUND = re.compile(rb"[A-Za-z0-9._-]{1,128}")

_LEFT = 499
"""Counted as the status of a request whose caller left before there was an answer."""
_KNOWN_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

_NOSNIFF = (b"x-content-type-options", b"nosniff")
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

_logger = logging.getLogger(__name__)


class Watch(NamedTuple):
    """What hears of every request."""

    metrics: Metrics
    access_log: AccessLog
    tracing: Tracing


class Shortcut:
    """An ASGI application in front of all layers of another one, which has an Edge among them."""

    def __init__(
        self,
        app: ASGIApp,
        direct_routes: Sequence[Callable[[Scope], DirectRoute | None]],
        admission: Admission,
        watch: Watch,
    ) -> None:
        """Each of `direct_routes` finds the route of a request that need not go through `app`, or None."""
        self._app = app
        self._direct_routes = direct_routes
        self._edge = Edge(app, admission, watch)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by a direct route where there is one."""
        if scope["type"] == "http":
            for find in self._direct_routes:
                if (route := find(scope)) is not None:
                    await self._edge.answer(scope, receive, send, route)
                    return
        await self._app(scope, receive, send)


class Edge:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, admission: Admission, watch: Watch) -> None:
        self._app = app
        self._admission = admission
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request by the application; what is not HTTP is its business alone."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self.answer(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send, route: DirectRoute | None = None) -> None:
        """Answer one request by a direct route or, without one, by the application."""
        start = time.perf_counter()
        request_id = _given_id(scope) or _new_id()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["status"] = _LEFT
        in_flight = self._watch.metrics.in_flight
        in_flight.add()
        try:
            if self._watch.tracing.enabled:
                with self._watch.tracing.span(scope) as span:
                    await self._answer(scope, receive, send, route)
                    span.end_with(state["status"], _route_of(scope)[0])
            else:
                await self._answer(scope, receive, send, route)
        finally:
            in_flight.add(amount=-1.0)
            self._count(scope, request_id, time.perf_counter() - start)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, route: DirectRoute | None) -> None:
        state = scope["state"]
        request_id, started = state["request_id"], False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                state["status"] = message["status"]
                _complete(MutableHeaders(scope=message), scope["path"], request_id)
            await send(message)

        try:
            state["caller"] = self._admission.admit(scope)
            if route is None:
                await self._app(scope, receive, send_named)
            else:
                state["direct"] = True
                answer = await route(Exchange(scope, receive))
                started = True
                state["status"] = answer.status
                await _send(answer, request_id, send)
        except ClientDisconnect:
            pass  # nobody reads an answer
        except Exception as error:  # the process must go on serving others
            cause, response = "internal-error", None
            if isinstance(error, ServiceError):
                cause = problems.cause_of(error)
                response = problems.response_to(Request(scope), error)
            self._watch.metrics.rejected.add((cause,))
            if response is None:
                _logger.exception("request %s failed; this is a bug", request_id)
                response = problems.response_to_bug(Request(scope))
            if started:
                raise
            await response(scope, receive, send_named)

    def _count(self, scope: Scope, request_id: str, seconds: float) -> None:
        state, method = scope["state"], scope["method"]
        route, model = _route_of(scope)
        status = state["status"]
        if status == 404:
            # A model that is not there is a name that anybody may invent.
            model = ""
        labels = (route, model, method if method in _KNOWN_METHODS else "other", str(status))
        self._watch.metrics.duration.observe(labels, seconds)
        if self._watch.access_log.enabled:
            self._watch.access_log.write(
                time=time.time(),
                request_id=request_id,
                method=method,
                route=route,
                model=model or None,
                rows=state.get("num_rows"),
                status=status,
                milliseconds=round(seconds * 1000, 3),
                caller=state.get("caller"),
                client=scope["client"][0] if scope.get("client") else None,
                traceparent=_traceparent(scope),
            )


async def _send(answer: Answer, request_id: str, send: Send) -> None:
    headers = [
        (b"content-type", answer.media_type.encode("latin-1")),
        (b"content-length", b"%d" % len(answer.content)),
        (_REQUEST_ID, request_id.encode("latin-1")),
        _NOSNIFF,
    ]
    for name, value in answer.headers:
        headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.content})


def _complete(headers: MutableHeaders, path: str, request_id: str) -> None:
    headers[REQUEST_ID] = request_id
    headers["X-Content-Type-Options"] = "nosniff"
    if headers.get("content-type", "").startswith("text/html"):
        headers.update(_PAGE)
        # A page that says more strictly what it needs is believed.
        headers.setdefault("Content-Security-Policy", _DOCS_POLICY if path.startswith("/docs") else _POLICY)


def _route_of(scope: Scope) -> tuple[str, str]:
    """The template of the route that answered, and the model that the path names; empty where there is none."""
    if "direct" in scope["state"]:
        return template_of(scope["path"])
    route = scope.get("route")
    path = getattr(route, "path", "")
    return path, scope.get("path_params", {}).get("model", "") if path else ""


def _traceparent(scope: Scope) -> str | None:
    values = [value for name, value in scope["headers"] if name == b"traceparent"]
    return values[0][:64].decode("latin-1") if values else None


def _given_id(scope: Scope) -> str | None:
    values = [value for name, value in scope["headers"] if name == _REQUEST_ID]
    return values[0].decode("ascii") if len(values) == 1 and _SOUND.fullmatch(values[0]) else None


def _new_id() -> str:
    # Names a request in a log and guards nothing; four times as fast as uuid4, which asks the system each time.
    return f"{random.getrandbits(128):032x}"
