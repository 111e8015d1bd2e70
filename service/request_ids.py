"""Every request has an id: the caller's X-Request-ID where it is a sound one, a new UUID elsewhere.

It goes back in the same header, into problem bodies, and into the log.
"""

import re
import uuid

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"
_SOUND = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def request_id_of(scope: Scope) -> str:
    """The id that RequestIds gave this request."""
    return str(scope["state"]["request_id"])


class RequestIds:
    """Middleware that names requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given(scope) or str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id

        async def name_reply(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self._app(scope, receive, name_reply)


def _given(scope: Scope) -> str | None:
    wanted = HEADER.lower().encode()
    values = [value for name, value in scope["headers"] if name == wanted]
    return values[0].decode("ascii") if len(values) == 1 and _SOUND.fullmatch(values[0]) else None
