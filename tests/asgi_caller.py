"""Calls an application in this process, with nothing between: no client that would put headers or bodies right."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message

Headers = Sequence[tuple[str, str]]


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


class AsgiCaller:
    """One event loop for all calls; close it in the end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._runner = asyncio.Runner()

    def __call__(self, method: str, path: str, body: bytes = b"", headers: Headers = (), query: str = "") -> Answer:
        """The headers are sent as they are; Content-Length is not added."""
        return self._runner.run(self._call(method, path, body, headers, query))

    def close(self) -> None:
        self._runner.close()

    async def _call(self, method: str, path: str, body: bytes, headers: Headers, query: str) -> Answer:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        chunks = [body[: len(body) // 2], body[len(body) // 2 :]]
        messages: list[Message] = []

        async def receive() -> Message:
            chunk = chunks.pop(0) if chunks else b""
            return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

        async def send(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, send)
        start = next(message for message in messages if message["type"] == "http.response.start")
        content = b"".join(message.get("body", b"") for message in messages if message is not start)
        found = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], found, content)
