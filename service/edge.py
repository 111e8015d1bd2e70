"""The one layer in front of all routes: everything that happens to every request, in the order it happens.

    1. The request gets its id: the caller's X-Request-ID where it is a sound one, a new one elsewhere. It goes back in
       the same header, into problem bodies, and into the log.
    2. It is answered: by a direct route, which is called at once, or by the application with its router. The direct
       routes are those where microseconds count; the application has them too, which documents them.
    3. What was raised on purpose becomes a problem; what nobody foresaw is logged with its traceback, and answered
       without any of it.

One layer and not a stack of middlewares: each of those costs as much as reading a request.
"""

import logging
import random
import re
from collections.abc import Awaitable, Callable, Sequence

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import problems
from service.errors import ServiceError
from service.exchange import Answer, Exchange

REQUEST_ID = "X-Request-ID"
_REQUEST_ID = REQUEST_ID.lower().encode()
_SOUND = re.compile(rb"[A-Za-z0-9._-]{1,128}")

DirectRoute = Callable[[Exchange], Awaitable[Answer]]

_logger = logging.getLogger(__name__)


class Edge:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, direct_routes: Sequence[Callable[[Scope], DirectRoute | None]]) -> None:
        """Each of `direct_routes` finds the route of a request that need not go through `app`, or None."""
        self._app = app
        self._direct_routes = direct_routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; everything that is not HTTP is the application's."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given_id(scope) or _new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            route = next(filter(None, (find(scope) for find in self._direct_routes)), None)
            if route is None:
                await self._app(scope, receive, send_named)
            else:
                answer = await route(Exchange(scope, receive))
                started = True
                await _send(answer, request_id, send)
        except ClientDisconnect:
            pass  # nobody reads an answer
        except Exception as error:  # the process must go on serving others
            response = problems.response_to(Request(scope), error) if isinstance(error, ServiceError) else None
            if response is None:
                _logger.exception("request %s failed; this is a bug", request_id)
                response = problems.response_to_bug(Request(scope))
            if started:
                raise
            await response(scope, receive, send_named)


async def _send(answer: Answer, request_id: str, send: Send) -> None:
    headers = [
        (b"content-type", answer.media_type.encode("latin-1")),
        (b"content-length", b"%d" % len(answer.content)),
        (_REQUEST_ID, request_id.encode("latin-1")),
    ]
    for name, value in answer.headers:
        headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.content})


def _given_id(scope: Scope) -> str | None:
    values = [value for name, value in scope["headers"] if name == _REQUEST_ID]
    return values[0].decode("ascii") if len(values) == 1 and _SOUND.fullmatch(values[0]) else None


def _new_id() -> str:
    # Names a request in a log and guards nothing; four times as fast as uuid4, which asks the system each time.
    return f"{random.getrandbits(128):032x}"
