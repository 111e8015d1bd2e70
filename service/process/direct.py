"""A request that its connection answers itself, by a direct route: no messages back and forth, and one write.

Uvicorn runs an application in a task of its own, passes it the body and takes the reply in messages, and writes the
head and the content of a reply one after the other. That takes longer than encoding a row. What is here stands where
uvicorn has its `RequestResponseCycle`, with the same attributes, so that everything else about a connection (keeping it
open, requests sent before the reply to the one before, draining, the end) is uvicorn's.
"""

import asyncio
import re
from collections.abc import Coroutine, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol, Self

from starlette.types import Message, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.edge import DirectRoute, Reply
from service.exchange import Exchange
from service.process.body_memory import BodyMemory
from service.process.long_bodies import LongBody

_PLAIN = re.compile(rb"/v[12]/models/[A-Za-z0-9._/-]+")
"""A path with nothing escaped. Whatever is unusual is the application's."""
_KNOWN_PATHS = 1024
_ENOUGH_BYTES = 1 << 17
"""Of a body, to be looked at before the rest of it comes: whether it is too long already. The rest of one whose length
was said is read straight to where it is used.
"""
_JOINED_BYTES = 1 << 16
"""Content that is copied behind its head, so that there is one buffer to send."""


class Routes(Protocol):
    """What knows direct routes, and answers by them."""

    def find(self, path: str) -> DirectRoute | None:
        """The route of a POST to a path."""

    def answer(self, exchange: Exchange, route: DirectRoute) -> Coroutine[Any, Any, Reply]:
        """Answer one request. Raises ClientDisconnect when its caller leaves."""


class DirectAnswers:
    """The direct routes, found by what a request line says."""

    def __init__(self, routes: Routes) -> None:
        self._find = lru_cache(_KNOWN_PATHS)(partial(_find, routes))
        self.answer = routes.answer
        self._memory = BodyMemory()

    def tidy(self) -> None:
        """Give back what long bodies left; to be called about twice a second."""
        self._memory.tidy()

    def begun(self, scope: Scope, url: bytes, transport: asyncio.Transport) -> "Begun | None":
        """Of a POST whose head is complete; None where the application has to look at it."""
        path, _, query = url.partition(b"?")
        found = self._find(path)
        if found is None or b"#" in query:
            return None
        scope["method"], scope["path"], scope["query_string"] = "POST", found.path, query
        cycle = DirectCycle(transport, self._memory)
        exchange = Exchange(scope, cycle.receive)
        # Pages of other origins have rules of their own.
        return None if b"origin" in exchange.headers else Begun(cycle, exchange, found.route)


class _Found(NamedTuple):
    path: str
    route: DirectRoute


def _find(routes: Routes, path: bytes) -> _Found | None:
    if not _PLAIN.fullmatch(path):
        return None
    text = path.decode("ascii")
    route = routes.find(text)
    return None if route is None else _Found(text, route)


class DirectCycle:
    """One request, from its head to the end of its reply."""

    def __init__(self, transport: asyncio.Transport, memory: BodyMemory) -> None:
        self.task: asyncio.Task[None] | None = None
        """That answers, where the answer had to wait."""
        self.expects_continue = False
        # What uvicorn's protocol looks at and sets.
        self.keep_alive = True
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self._transport = transport
        self._memory = memory
        self._chunks: list[bytes] = []
        self._long: memoryview | None = None
        """All of a long body, in place of the chunks."""
        self._num_bytes = 0
        self._length: bytes | None = None
        """What was said of the body."""
        self._waiting: asyncio.Future[None] | None = None

    def add(self, chunk: bytes) -> None:
        """More of the body came."""
        self._num_bytes += len(chunk)
        self._chunks.append(chunk)
        # At once, and not when whoever receives has his turn: more may have come until then.
        if self._num_bytes >= _ENOUGH_BYTES and self._waiting is not None and not self._make_room():
            self.set()

    def set(self) -> None:
        """The rest of the body came, or the caller left. (The name is that of an event.)"""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    @property
    def message_event(self) -> Self:
        """What uvicorn wakes up whoever receives with."""
        return self

    def begin(self, exchange: Exchange) -> None:
        """Give the exchange its body, where that is there, or hear how long it will be.

        The exchange refers to this for what comes later, so this does not keep it: neither would be freed before Python
        looks for cycles, and bodies are large.
        """
        if self.more_body:
            self._length = exchange.headers.get(b"content-length")
        else:
            exchange.content = self._taken()

    async def receive(self) -> Message:
        """All of the body, or as much as is enough to look at, as ASGI has it; to be called until there is no more."""
        if self.more_body and self.expects_continue:
            self.expects_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while self.more_body and not self.disconnected:
            if self._num_bytes >= _ENOUGH_BYTES and self._long is None and not self._make_room():
                break
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if self.disconnected:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self._taken(), "more_body": self.more_body}

    def forget_body(self) -> None:
        """Nobody will receive it."""
        self._taken()

    def _make_room(self) -> bool:
        """For all of the body, where it was said how long it will be; whoever receives has looked at that."""
        if self._length is None:
            return False
        length = int(self._length)
        if length > self._num_bytes:
            self._long = self._memory.take(length)
            self._long[: self._num_bytes] = b"".join(self._chunks)
            self._chunks = []
            connection: Any = self._transport.get_protocol()
            LongBody(self._transport, connection, self._long[self._num_bytes :])
        return True

    def _taken(self) -> bytes | memoryview:
        long, self._long = self._long, None
        if long is not None:
            return long
        chunks, self._chunks, self._num_bytes = self._chunks, [], 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def send(self, reply: Reply, default_headers: Sequence[tuple[bytes, bytes]]) -> None:
        """The whole reply, and the end of the connection where it is not kept."""
        self.response_started = self.response_complete = True
        head = STATUS_LINE[reply.status]
        for name, value in default_headers:
            head += b"%b: %b\r\n" % (name, value)
        head += reply.head if self.keep_alive else reply.head + b"connection: close\r\n"
        if len(reply.content) <= _JOINED_BYTES:
            self._transport.write(b"%b\r\n%b" % (head, reply.content))
        else:
            self._transport.writelines([head, b"\r\n", reply.content])
        if not self.keep_alive:
            self._transport.close()


class Begun(NamedTuple):
    """A request whose head is complete, and what answers it."""

    cycle: DirectCycle
    exchange: Exchange
    route: DirectRoute
