"""Clients that ask for much and take nothing: their connections end, and what they hold meanwhile is bounded."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from service_process import ServiceProcess
from waiting import eventually

SHIPPED = Path(__file__).parents[2] / "models" / "shipped"
RECEIPT_SECONDS = 4.0
NUM_PICTURES = 4096
REPLY_BYTES = NUM_PICTURES * 28 * 28 * 4
MAX_UNSENT_BYTES = 4 * REPLY_BYTES
ASK = (
    f"POST /v1/models/mnist-binary/generate?num_samples={NUM_PICTURES}&seed=1 HTTP/1.1\r\n"
    "Host: x\r\nAccept: application/x-npy\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
).encode()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    """One worker that waits four seconds for a reply to be taken, and keeps four of them meanwhile."""
    settings = {"receipt_seconds": RECEIPT_SECONDS, "max_unsent_bytes": MAX_UNSENT_BYTES}
    with ServiceProcess([SHIPPED], log=tmp_path / "log", workers=1, **settings) as service:
        yield service


def asking(service: ServiceProcess) -> socket.socket:
    """A connection with a small buffer that asks for pictures."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", service.port))
    connection.sendall(ASK)
    return connection


def counted(service: ServiceProcess, cause: str) -> int:
    found = re.search(rf'^latent_codes_rejected_total{{cause="{cause}"}} (\d+)$', metrics(service), re.MULTILINE)
    return int(found[1]) if found else 0


def own_bytes(service: ServiceProcess) -> int:
    """Of the worker's memory, without pages of files, which the system takes from it and reads again as it likes."""
    [worker] = service.workers()
    [line] = [line for line in Path(f"/proc/{worker}/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


def metrics(service: ServiceProcess) -> str:
    return httpx.get(f"{service.url}/metrics", timeout=30).text


def received(connection: socket.socket, *, pause: float = 0.0) -> int:
    """Bytes that come until the other side closes or all are there."""
    total = 0
    try:
        while total < REPLY_BYTES and (chunk := connection.recv(1 << 20)):
            total += len(chunk)
            time.sleep(pause)
    except ConnectionResetError:
        pass
    return total


def test_a_client_that_does_not_take_its_reply_is_closed_by_the_deadline_and_counted(service: ServiceProcess) -> None:
    begin = time.monotonic()
    with asking(service) as connection:
        eventually(lambda: counted(service, "reply-not-taken") == 1, RECEIPT_SECONDS + 30)
        assert time.monotonic() - begin > RECEIPT_SECONDS
        # What had left the service is still in the kernel's buffers; the rest never comes.
        assert received(connection) < REPLY_BYTES
    assert service.is_ready()


def test_a_client_that_takes_its_reply_slowly_gets_all_of_it(tmp_path: Path) -> None:
    """Also right after it connected, when the service has not looked at its connection yet."""
    with ServiceProcess([SHIPPED], log=tmp_path / "log", workers=1, receipt_seconds=120) as service:
        for _ in range(2):
            with asking(service) as connection:
                assert received(connection, pause=0.001) >= REPLY_BYTES
        assert counted(service, "reply-not-taken") == 0


@pytest.mark.slow
def test_many_that_take_nothing_hold_no_more_than_is_allowed_and_others_are_answered(service: ServiceProcess) -> None:
    with asking(service) as first:
        received(first)
    before = own_bytes(service)
    most = 0
    with ExitStack() as stack:
        for _ in range(24):
            # Its reply has begun, and nothing more of it is taken.
            assert stack.enter_context(asking(service)).recv(1)
            most = max(most, own_bytes(service))
        deadline = time.monotonic() + RECEIPT_SECONDS
        while time.monotonic() < deadline:
            most = max(most, own_bytes(service))
            assert service.is_ready()
            time.sleep(0.1)
        eventually(lambda: counted(service, "reply-not-taken") == 24)
    # Between two looks, half a second, some more come than are kept, and one is being made; all would be 24.
    # What is being written, joined and read besides; without the bound it would be all replies.
    assert most - before < MAX_UNSENT_BYTES + 16 * REPLY_BYTES
    assert service.is_ready()
