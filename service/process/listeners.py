"""The sockets that workers accept from, opened by the supervisor before there are workers.

On Linux every worker slot has a socket of its own on the same port (SO_REUSEPORT), and the kernel spreads connections
evenly over them; a shared socket gives most to whichever worker wakes first. Elsewhere SO_REUSEPORT is missing or does
not spread (on macOS the last socket gets everything), and the slots share one.
"""

import socket
import sys

from service.errors import AddressUnavailable

BACKLOG = 2048
_SPREADS = sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")


def open_listeners(host: str, port: int, num_slots: int) -> list[socket.socket]:
    """A listening socket for each slot. Raises AddressUnavailable with one sentence, also when the port is taken."""
    try:
        if not _SPREADS:
            shared = _listen(host, port, spread=False)
            return [shared] * num_slots
        # A second service could join the port unnoticed and take half of the requests: ask for it alone first.
        _listen(host, port, spread=False).close()
        return [_listen(host, port, spread=True) for _ in range(num_slots)]
    except OSError as error:
        raise AddressUnavailable(f"cannot listen on {host} port {port}: {error.strerror or error}") from error


def _listen(host: str, port: int, *, spread: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=spread)
