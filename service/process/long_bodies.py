"""The rest of a long body, read by the kernel straight into the memory where it is used.

A body that passes through the parser of HTTP is copied three times on its way. Once it is known where it ends, there is
nothing to parse until then.
"""

import asyncio
from typing import Protocol


class Connection(Protocol):
    """The protocol that had the transport before, and has it again afterwards."""

    def long_body_complete(self) -> None:
        """All of the body is there; what comes next is another request."""

    def connection_lost(self, exc: Exception | None) -> None:
        """As of asyncio's protocols, like the following."""

    def eof_received(self) -> bool | None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class LongBody(asyncio.BufferedProtocol):
    """Takes a transport over from a connection until a body is complete."""

    def __init__(self, transport: asyncio.Transport, connection: Connection, rest: memoryview) -> None:
        """`rest`: where what is still to come of the body belongs, at least a byte."""
        self._transport = transport
        self._connection = connection
        self._rest = rest
        transport.set_protocol(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # what comes has its place, however much it is
        """The part of the memory that is not filled yet: nothing behind the body is read."""
        return self._rest

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes are in it."""
        self._rest = self._rest[nbytes:]
        if not self._rest:
            self._transport.set_protocol(self._connection)  # type: ignore[arg-type]  # it is a protocol of asyncio
            self._connection.long_body_complete()

    def eof_received(self) -> bool | None:
        """The connection's to hear, like the following."""
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller left."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Nothing is written meanwhile but that the caller may go on."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """As before."""
        self._connection.resume_writing()
