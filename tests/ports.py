"""Ports of 127.0.0.1 that are nobody else's for as long as a test needs them."""

import socket
import sys
from types import TracebackType
from typing import Self


class ReservedPort:
    """A port that the system gives to nobody who asks for any, and that whoever is told its number may listen on.

    A port that was only found free, and let go, may be somebody else's when it is used: another process of the tests',
    or the near end of a connection. Here a socket stays bound to it, which on Linux keeps it from being given away and,
    since it does not listen, from nobody who names it. Elsewhere two sockets cannot share a port so, and it is let go.
    """

    def __init__(self) -> None:
        self._holder = socket.socket()
        for option in (socket.SO_REUSEADDR, *((socket.SO_REUSEPORT,) if sys.platform == "linux" else ())):
            self._holder.setsockopt(socket.SOL_SOCKET, option, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.number: int = self._holder.getsockname()[1]
        if sys.platform != "linux":
            self._holder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Anybody may be given it again."""
        self._holder.close()


def free_port() -> int:
    """One that nobody has at the moment, for a container, whose engine may share none."""
    with ReservedPort() as port:
        return port.number
