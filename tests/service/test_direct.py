"""Requests that their connection answers without the application. Whatever is asked, the answers are the same.

A request with an Origin is the application's to answer, and nothing else about it is different: that is the oracle.
"""

import json
import re
import socket
import threading
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from service_process import ServiceProcess
from waiting import eventually

ENCODE = "/v1/models/tiny-binary/encode"
ROWS = [[0.5] * 16, [0.25] * 16]
JSON = {"Content-Type": "application/json"}
RAW = {"Content-Type": "application/octet-stream"}
INFER = {"inputs": [{"name": "inputs", "shape": [1, 16], "datatype": "FP32", "data": [0.5] * 16}]}


@pytest.fixture
def client(running_service: ServiceProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running_service.url, timeout=30) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        (ENCODE, JSON, json.dumps({"inputs": ROWS}).encode()),
        (f"{ENCODE}?temperature=0.7&seed=3", JSON, json.dumps({"inputs": ROWS}).encode()),
        (ENCODE, RAW, np.full((3, 16), 0.5, np.float32).tobytes()),
        (ENCODE, JSON, json.dumps({"inputs": ROWS}).encode() + b" " * 3_000_000),
        (ENCODE, RAW | {"Accept": "application/x-npy"}, np.full((3, 16), 0.5, np.float32).tobytes()),
        ("/v1/models/tiny-binary/versions/1/encode", JSON, json.dumps({"inputs": ROWS}).encode()),
        ("/v1/models/tiny-binary/decode", JSON, json.dumps({"codes": [[0, 1, 0, 1, 1, 0]]}).encode()),
        ("/v1/models/tiny-binary/reconstruct", JSON, json.dumps({"inputs": ROWS}).encode()),
        ("/v1/models/tiny-binary/generate", JSON, b'{"seed": 1, "num_samples": 2}'),
        ("/v2/models/tiny-binary/infer", JSON, json.dumps(INFER).encode()),
        (ENCODE, JSON, b'{"inputs": [[2'),
        (ENCODE, JSON, b'{"inputs": [[2]]}'),
        (ENCODE, JSON, b""),
        (ENCODE, JSON | {"Accept": "image/gif"}, b"{}"),
        (ENCODE, {"Content-Type": "text/plain"}, b"{}"),
        (ENCODE, JSON | {"Content-Encoding": "gzip"}, b"{}"),
        (ENCODE, JSON | {"X-Request-Timeout-Ms": "soon"}, b"{}"),
        (f"{ENCODE}?temperature=hot", JSON, json.dumps({"inputs": ROWS}).encode()),
        ("/v1/models/nobody/encode", JSON, b"{}"),
        ("/v1/models/tiny-binary/versions/7/encode", JSON, b"{}"),
        ("/v1/models/tiny-binary/versions/x/encode", JSON, b"{}"),
        ("/v2/models/tiny-binary/infer", JSON, b'{"inputs": 1}'),
        ("/v1/models/tiny%2Dbinary/encode", JSON, json.dumps({"inputs": ROWS}).encode()),
        ("/v1/models//encode", JSON, b"{}"),
    ],
)
def test_an_answer_is_the_applications(client: httpx.Client, path: str, headers: dict[str, str], body: bytes) -> None:
    headers = headers | {"X-Request-ID": "mine"}
    direct = client.post(path, headers=headers, content=body)
    applications = client.post(path, headers=headers | {"Origin": "http://elsewhere"}, content=body)
    assert direct.status_code == applications.status_code
    assert direct.content == applications.content
    ours, theirs = (dict(reply.headers) for reply in (direct, applications))
    assert ours.pop("date")
    assert theirs.pop("date")
    assert ours == theirs


def test_both_are_counted_alike(client: httpx.Client) -> None:
    def counted() -> float:
        found = re.search(
            r'^latent_codes_http_requests_total\{route="/v1/models/\{model\}/decode",model="tiny-binary",'
            r'method="POST",status="422"\} (\d+)$',
            client.get("/metrics").text,
            re.M,
        )
        return float(found[1]) if found else 0.0

    for headers in ({}, {"Origin": "http://elsewhere"}):
        before = counted()
        client.post("/v1/models/tiny-binary/decode", json={}, headers=headers)
        assert counted() == before + 1


def asked(path: str = ENCODE, *lines: str, body: bytes = json.dumps({"inputs": ROWS}).encode()) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, *lines, "", ""]).encode() + body


def replies(connection: socket.socket, number: int) -> list[tuple[int, bytes]]:
    """Status and content of so many replies, as they come."""
    found: list[tuple[int, bytes]] = []
    received = b""
    while len(found) < number:
        head, end, rest = received.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)", head)
        if end and length and len(rest) >= int(length[1]):
            found.append((int(head.split()[1]), rest[: int(length[1])]))
            received = rest[int(length[1]) :]
            continue
        chunk = connection.recv(1 << 16)
        assert chunk, f"the connection ended after {found}, {received!r}"
        received += chunk
    return found


@pytest.fixture
def connection(running_service: ServiceProcess) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", running_service.port), timeout=30) as connection:
        yield connection


def test_requests_sent_at_once_are_answered_in_their_order(connection: socket.socket) -> None:
    missing = asked("/v1/models/nobody/encode")
    models = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    connection.sendall(asked() + models + asked() + missing + models + asked())
    found = replies(connection, 6)
    assert [status for status, _ in found] == [200, 200, 200, 404, 200, 200]
    assert ["codes" in json.loads(content) for _, content in found] == [True, False, True, False, False, True]


def test_a_body_may_come_in_pieces(connection: socket.socket) -> None:
    whole = asked()
    for start in range(0, len(whole), 40):
        connection.sendall(whole[start : start + 40])
    connection.sendall(asked())
    first, second = replies(connection, 2)
    assert first == second
    assert first[0] == 200


@pytest.mark.parametrize("num_more", [0, 3_000_000])
def test_a_body_may_come_in_chunks_of_unknown_number(connection: socket.socket, num_more: int) -> None:
    body = json.dumps({"inputs": ROWS}).encode() + b" " * num_more
    head = f"POST {ENCODE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.sendall(head.encode())
    size = max(100, len(body) // 20)
    for start in range(0, len(body), size):
        piece = body[start : start + size]
        connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
    connection.sendall(b"0\r\n\r\n" + asked())
    first, second = replies(connection, 2)
    assert first == second


@pytest.mark.parametrize("num_more", [300_000, 5_000_000])
def test_a_request_that_follows_a_long_body_is_another_one(connection: socket.socket, num_more: int) -> None:
    long = asked(body=json.dumps({"inputs": ROWS}).encode() + b" " * num_more)
    sender = threading.Thread(
        target=connection.sendall, args=(long + asked() + long + asked("/v1/models/nobody/encode"),)
    )
    sender.start()
    first, *others, last = replies(connection, 4)
    sender.join()
    assert others == [first, first]
    assert first[0] == 200
    assert last[0] == 404


def test_a_caller_who_leaves_within_a_long_body_is_counted(running_service: ServiceProcess) -> None:
    before = num_left(running_service)
    with socket.create_connection(("127.0.0.1", running_service.port), timeout=30) as connection:
        connection.sendall(asked(body=b" " * 5_000_000)[:4_000_000])
    eventually(lambda: num_left(running_service) > before)
    assert "Traceback" not in running_service.log_text()


def test_who_asks_before_he_sends_is_told_to_go_on(connection: socket.socket) -> None:
    head, _, body = asked(ENCODE, "Expect: 100-continue").partition(b"\r\n\r\n")
    connection.sendall(head + b"\r\n\r\n")
    assert connection.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(body)
    ((status, _),) = replies(connection, 1)
    assert status == 200


def test_who_asks_before_he_sends_too_much_is_told_so_at_once(connection: socket.socket) -> None:
    head = f"POST {ENCODE} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\nExpect: 100-continue\r\n"
    connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode())
    ((status, _),) = replies(connection, 1)
    assert status == 413


def test_a_connection_is_closed_where_that_is_asked(connection: socket.socket) -> None:
    connection.sendall(asked(ENCODE, "Connection: close"))
    received = b""
    while chunk := connection.recv(1 << 16):
        received += chunk
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close\r\n" in received


def num_left(service: ServiceProcess) -> int:
    """How many callers left before they had an answer."""
    counted = re.findall(
        r'^latent_codes_http_requests_total\{.*"499"\} (\d+)$',
        httpx.get(f"{service.url}/metrics", timeout=30).text,
        re.M,
    )
    return sum(map(int, counted))


def test_a_caller_who_leaves_before_the_end_is_counted_and_nothing_is_done_for_him(
    running_service: ServiceProcess,
) -> None:
    before = num_left(running_service)
    with socket.create_connection(("127.0.0.1", running_service.port), timeout=30) as connection:
        connection.sendall(asked()[:-10])
    eventually(lambda: num_left(running_service) > before)
    assert "Traceback" not in running_service.log_text()
