"""One worker's HTTP server: uvicorn's, with an end that loses nothing.

Uvicorn closes its listeners when it is told to stop, and every idle connection with them, so a request that was on its
way is lost. Here a server that drains answers whatever arrives, says `Connection: close` with each answer, accepts what
the kernel accepted, and closes a connection only when it has been idle for a while.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from service.process.connections import Config, Connection
from service.process.listeners import begin_no_more

LINGER_SECONDS = 1.0
"""How long a drained server keeps an idle connection open: a request may be on its way."""
_ACCEPT_SECONDS = 0.1
_LOOK_SECONDS = 0.02

_logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Serves until `drain` was called and all that was accepted is answered."""

    def __init__(
        self,
        config: Config,
        *,
        grace_seconds: float,
        on_started: Callable[[], Any],
        ends_service: Callable[[], bool] = lambda: False,
    ) -> None:
        """`on_started` is called when connections are accepted; `ends_service` says, at the end of this server, whether
        nobody accepts from its sockets after it.
        """
        super().__init__(config)
        self._ends_service = ends_service
        self._config = config
        self._grace_seconds = grace_seconds
        self._on_started = on_started
        self._adopted: dict[int, tuple[asyncio.Server, socket.socket]] = {}

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the worker's to handle."""
        yield

    async def startup(self, sockets: Any = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        self._on_started()

    async def drain(self, delay: float) -> None:
        """Go on for `delay` seconds, asking callers to connect anew, then end."""
        self._config.draining = True
        for connection in self._connections():
            connection.drain()
        await asyncio.sleep(delay)
        self.should_exit = True

    async def shutdown(self, sockets: Any = None) -> None:
        """Finish what was accepted, for at most the grace period."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._grace_seconds
        accepted_from = [*(sockets or []), *(own for _, own in self._adopted.values())]
        if self._ends_service():
            # The supervisor does this too, and may come to it only when all is accepted and closed here.
            for listener in accepted_from:
                begin_no_more(listener)
        # What the kernel is making meanwhile is there then, or a successor accepts.
        late = await _sleep(_ACCEPT_SECONDS)
        # A server closes its socket with itself; through these copies the kernel's queue stays.
        listeners = [listener.dup() for listener in accepted_from]
        for server in (*self.servers, *(server for server, _ in self._adopted.values())):
            server.close()
        await asyncio.sleep(0)
        for listener in listeners:
            await self._accept_rest(listener)
        while (self.server_state.connections or self.server_state.tasks) and loop.time() < deadline:
            for connection in self._connections():
                connection.close_if_idle(LINGER_SECONDS + late)
            late += await _sleep(_LOOK_SECONDS)
        for task in list(self.server_state.tasks):
            _logger.error("a request was not finished within %g seconds and is given up", self._grace_seconds)
            task.cancel()
        await self.lifespan.shutdown()

    async def adopt(self, listener: socket.socket) -> None:
        """Accept from another worker's socket too, until `release`: that worker is not there."""
        if self.should_exit or listener.fileno() in self._adopted:
            return
        own = listener.dup()
        server = await asyncio.get_running_loop().create_server(self._connection, sock=own)
        self._adopted[listener.fileno()] = server, own
        if self.should_exit:
            self.release(listener)

    def release(self, listener: socket.socket) -> None:
        """Leave the socket to its worker. What was accepted is answered here."""
        server, own = self._adopted.pop(listener.fileno(), (None, None))
        if server is not None and own is not None:
            server.close()
            own.close()

    async def _accept_rest(self, listener: socket.socket) -> None:
        """Close a socket, and take over the connections that the kernel made in its name: it would reset them."""
        rest = []
        with suppress(BlockingIOError):
            while True:
                rest.append(listener.accept()[0])
        listener.close()
        for connection in rest:
            await asyncio.get_running_loop().connect_accepted_socket(self._connection, connection)

    def _connection(self) -> Connection:
        return Connection(self._config, server_state=self.server_state, app_state=self.lifespan.state)

    def tidy(self) -> None:
        """End connections that take too long, and give back memory; to be called about twice a second."""
        now = time.monotonic()
        if self._config.direct is not None:
            self._config.direct.tidy()
        connections = self._connections()
        for connection in connections:
            connection.tidy(now)
        waiting = sorted(
            (each for each in connections if each.num_unsent_bytes and not each.transport.is_closing()),
            key=lambda each: each.stuck_since,
        )
        # Of those that take nothing, the first ones go; the last one had the least time, and stays however long its
        # reply is.
        num_unsent_bytes = sum(each.num_unsent_bytes for each in waiting)
        for connection in waiting[:-1]:
            if num_unsent_bytes <= self._config.bounds.max_unsent_bytes:
                break
            num_unsent_bytes -= connection.num_unsent_bytes
            connection.give_reply_up()

    def _connections(self) -> list[Connection]:
        return [connection for connection in self.server_state.connections if isinstance(connection, Connection)]


async def _sleep(seconds: float) -> float:
    """The result is by how much it took longer. So long nothing was read here, and on a machine that stood still or
    had too much to do nobody could ask: it is no time that a connection was idle.
    """
    due = time.monotonic() + seconds
    await asyncio.sleep(seconds)
    return max(0.0, time.monotonic() - due)
