"""The end of a listening socket: what the kernel took is accepted, and nothing comes after it."""

import select
import socket
import sys
from collections.abc import Iterator

import pytest

from service.process.listeners import begin_no_more, open_listeners

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the packet filter of sockets is Linux's")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with open_listeners("127.0.0.1", 0, 1)[0] as opened:
        opened.setblocking(False)
        yield opened


def calling(listener: socket.socket) -> socket.socket:
    """A caller who does not wait for the connection."""
    caller = socket.socket()
    caller.setblocking(False)
    caller.connect_ex(listener.getsockname())
    return caller


def test_a_connection_made_before_the_end_is_accepted_and_answered(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as caller:
        caller.sendall(b"asked")
        begin_no_more(listener)
        accepted, _ = listener.accept()
        listener.close()
        with accepted:
            assert accepted.recv(16) == b"asked"
            accepted.sendall(b"answered")
        assert caller.recv(16) == b"answered"


def test_no_connection_begins_after_the_end_whichever_process_has_the_socket(listener: socket.socket) -> None:
    with listener.dup() as elsewhere:
        begin_no_more(elsewhere)
        with calling(listener) as caller:
            assert select.select([], [caller], [], 0.3) == ([], [], [])
            with pytest.raises(BlockingIOError):
                listener.accept()


def test_who_tried_meanwhile_is_refused_when_the_socket_is_closed_and_not_reset_with_a_request(
    listener: socket.socket,
) -> None:
    begin_no_more(listener)
    with calling(listener) as caller:
        listener.close()
        assert select.select([], [caller], [], 10)[1] == [caller]
        error = caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert isinstance(error, int)
        with pytest.raises(ConnectionRefusedError):
            raise OSError(error, "")
