"""The sockets that workers accept from, opened by the supervisor before there are workers.

On Linux every worker slot has a socket of its own on the same port (SO_REUSEPORT), and the kernel spreads connections
evenly over them; a shared socket gives most to whichever worker wakes first. Elsewhere SO_REUSEPORT is missing or does
not spread (on macOS the last socket gets everything), and the slots share one.
"""

import ctypes
import errno
import os
import socket
import struct
import sys

from service.errors import AddressUnavailable

BACKLOG = 2048
_ADVICE = {
    errno.EADDRINUSE: "end what listens there, or choose another with LATENT_CODES_PORT",
    errno.EADDRNOTAVAIL: "LATENT_CODES_HOST has to be an address of this machine, or 0.0.0.0 for all",
    errno.EACCES: "ports below 1024 are the administrator's; choose another with LATENT_CODES_PORT",
}
_SPREADS = sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")

_SO_ATTACH_FILTER = 26
_NO_SYN = (
    # A program for the kernel's packet filter, each instruction (code, jump if true, jump if false, operand).
    (0x30, 0, 0, 13),  # the byte of a TCP header that has its flags
    (0x45, 0, 1, 0x02),  # is SYN, by which a connection begins, among them?
    (0x06, 0, 0, 0),  # then drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # or else take all of it
)


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
        said = os.strerror(error.errno) if error.errno else str(error)
        advice = f"; {_ADVICE[error.errno]}" if error.errno in _ADVICE else ""
        raise AddressUnavailable(f"cannot listen on {host} port {port}: {said}{advice}") from error


def begin_no_more(listener: socket.socket) -> None:
    """Have the kernel make no further connection in the name of a socket, in whichever processes it is open.

    Those that it has made, or is making, can still be accepted, so that closing the socket after the last of them loses
    none: without this, one may come between the last `accept` and `close`, and is reset. A caller who tries meanwhile
    is heard again by the kernel a second later, and refused. On Linux alone; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in _NO_SYN))
    program = struct.pack("HP", len(_NO_SYN), ctypes.addressof(instructions))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _listen(host: str, port: int, *, spread: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=spread)
