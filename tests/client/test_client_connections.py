"""What the clients do when no reply comes: real sockets that refuse, stay silent or break off."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from latent_codes_client import AsyncLatentCodesClient, ConnectionFailed, LatentCodesClient, NoReply, Retries, TimedOut
from ports import ReservedPort

ONCE = Retries(attempts=1)


@contextmanager
def listener(first_bytes: bytes | None) -> Iterator[str]:
    """A server that reads one request, sends `first_bytes` and hangs up; with None it is silent until the end."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                if first_bytes is None:
                    done.wait(30)
                else:
                    connection.sendall(first_bytes)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            done.set()
            thread.join()


@pytest.fixture
def refusing_address() -> Iterator[str]:
    """Where nobody listens."""
    with ReservedPort() as port:
        yield f"http://127.0.0.1:{port.number}"


def test_a_refused_connection_is_told_with_the_address(make_client: Any, refusing_address: str) -> None:
    with pytest.raises(ConnectionFailed, match=f"^cannot connect to {refusing_address}: ") as failure:
        make_client(refusing_address, retries=ONCE).models()
    assert isinstance(failure.value.__cause__, httpx.ConnectError)


def test_a_service_that_cannot_be_reached_is_neither_live_nor_ready(make_client: Any, refusing_address: str) -> None:
    client = make_client(refusing_address)
    assert client.is_live() is False
    assert client.is_ready() is False


def test_silence_ends_with_the_timeout(make_client: Any) -> None:
    with listener(None) as address, pytest.raises(TimedOut, match=f"^{address} did not answer within the timeout"):
        make_client(address, timeout=0.2).models()


def test_a_silent_service_is_not_live(make_client: Any) -> None:
    with listener(None) as address:
        assert make_client(address, timeout=0.2).is_live() is False


@pytest.mark.parametrize(
    "first_bytes",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"this is no HTTP\r\n\r\n"],
    ids=["nothing", "half a reply", "another protocol"],
)
def test_a_connection_that_breaks_off_is_told_as_such(make_client: Any, first_bytes: bytes) -> None:
    with (
        listener(first_bytes) as address,
        pytest.raises(ConnectionFailed, match=f"^the connection to {address} broke off: ."),
    ):
        make_client(address, retries=ONCE).models()


def test_timeouts_of_connecting_say_so(answered_by: Any) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("", request=request)

    with pytest.raises(TimedOut, match=r"^no connection to http://service\.test within the timeout"):
        answered_by(answer).models()


def test_secrets_in_the_address_are_not_repeated(make_client: Any, refusing_address: str) -> None:
    address = refusing_address.replace("http://", "http://user:secret@")
    with pytest.raises(NoReply) as failure:
        make_client(address, retries=ONCE).models()
    assert "secret" not in str(failure.value)


def test_leaving_the_block_closes_the_connections() -> None:
    class Watched(httpx.MockTransport):
        closed = False

        def close(self) -> None:
            self.closed = True

        async def aclose(self) -> None:
            self.closed = True

    async def use(transport: Watched) -> None:
        async with AsyncLatentCodesClient("http://service.test", transport=transport) as client:
            assert await client.is_live()

    transports = [Watched(lambda request: httpx.Response(200)) for _ in range(2)]
    with LatentCodesClient("http://service.test", transport=transports[0]) as client:
        assert client.is_live()
    asyncio.run(use(transports[1]))
    assert [transport.closed for transport in transports] == [True, True]
