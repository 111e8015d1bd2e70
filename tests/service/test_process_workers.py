"""Workers as their supervisor keeps them: restarts, deaths and ends under load, seen from outside."""

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from service_load import Asked, Load
from service_process import ServiceProcess
from tiny_models import TINY_BINARY
from waiting import eventually

READY = {"ready": True, "failed": [], "reasons": []}


def encodes(count: int = 20) -> list[Asked]:
    """Requests for codes, with the codes that the model's own arithmetic gives."""
    inputs = np.round(TINY_BINARY.inputs(count), 3)
    codes = TINY_BINARY.encode(inputs).codes.tolist()
    return [
        Asked("/v1/models/tiny-binary/encode", json.dumps({"inputs": [row]}).encode(), {"codes": [code]})
        for row, code in zip(inputs.tolist(), codes, strict=True)
    ]


def readiness(service: ServiceProcess) -> tuple[int, dict[str, object]]:
    reply = httpx.get(f"{service.url}/v2/health/ready", timeout=30)
    return reply.status_code, reply.json()


def is_running(pid: int) -> bool:
    """Not ended; one that nobody has waited for yet has."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(") ")[2][0] != "Z"


def test_workers_share_the_port_and_say_together_that_they_are_ready(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=2) as service:
        assert len(service.workers()) == 2
        assert readiness(service) == (200, READY)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_restart_of_all_workers_loses_no_request(tmp_path: Path, tiny_repository: Path, num_workers: int) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=num_workers) as service:
        before = service.workers()
        with Load(service, encodes()) as load:
            load.wait_for(50)
            service.send_signal(signal.SIGHUP)
            eventually(lambda: len(service.workers()) == num_workers and not service.workers() & before, 60)
            assert readiness(service) == (200, READY)
            load.wait_for(50)
        assert load.outcomes.keys() == {"right"}, load.outcomes
        assert service.stop() == 0
    assert "Traceback" not in service.log_text()


def test_a_killed_worker_is_replaced_and_no_answer_is_wrong(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=2) as service:
        with Load(service, encodes()) as load:
            for _ in range(3):
                load.wait_for(50)
                before = service.workers()
                os.kill(min(before), signal.SIGKILL)
                eventually(lambda: len(service.workers()) == 2 and service.workers() != before)  # noqa: B023
                eventually(lambda: readiness(service) == (200, READY))
        # Only who was being answered by the worker that died is affected: at most each caller, each time.
        assert load.outcomes.keys() <= {"right", "lost"}, load.outcomes
        assert load.outcomes["lost"] <= 3 * 4
        assert service.stop() == 0


def test_connections_that_wait_for_a_killed_worker_are_answered_by_its_successor(
    tmp_path: Path, tiny_repository: Path
) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=1) as service:
        [worker] = service.workers()
        os.kill(worker, signal.SIGSTOP)
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            os.kill(worker, signal.SIGKILL)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_readiness_says_that_a_worker_is_missing(tmp_path: Path, tiny_repository: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("alice:a-key-of-sixteen-characters")
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=2, api_keys_file=keys) as service:
        keys.write_text("alice:short")  # no successor starts as long as this stands there
        os.kill(min(service.workers()), signal.SIGKILL)
        seen = []

        def unready() -> bool:
            seen.append(readiness(service))
            return seen[-1][0] == 503

        eventually(unready)
        assert seen[-1][1] == {"ready": False, "failed": [], "reasons": ["1 of 2 workers are not there yet"]}
        keys.write_text("alice:a-key-of-sixteen-characters")
        eventually(lambda: readiness(service) == (200, READY))


def test_what_was_accepted_before_sigterm_is_answered(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=2) as service:
        with Load(service, encodes()) as load:
            load.wait_for(50)
            assert service.stop() == 0
        assert load.outcomes.keys() <= {"right", "refused"}, load.outcomes
        assert load.outcomes["refused"]
    assert "Traceback" not in service.log_text()


def test_a_request_whose_body_is_still_arriving_at_sigterm_is_answered(tmp_path: Path, tiny_repository: Path) -> None:
    body = encodes(1)[0].body
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=1) as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
            head = (
                "POST /v1/models/tiny-binary/encode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            connection.sendall(head.encode() + body[:-10])
            time.sleep(0.2)
            service.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            connection.sendall(body[-10:])
            reply = connection.recv(1000)
        assert reply.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in reply
        assert service.stop() == 0


def test_a_service_that_drains_answers_and_is_not_ready(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=1, drain_seconds=8) as service:
        service.send_signal(signal.SIGTERM)
        eventually(lambda: readiness(service)[0] == 503)
        assert "the service is stopping" in readiness(service)[1]["reasons"]  # type: ignore[operator]
        asked = encodes(1)[0]
        reply = httpx.post(
            f"{service.url}{asked.path}", content=asked.body, headers={"Content-Type": "application/json"}, timeout=30
        )
        assert reply.json()["codes"] == asked.expected["codes"]
        assert reply.headers["connection"] == "close"
        assert service.stop() == 0


def test_a_request_that_outlasts_the_grace_period_does_not_keep_the_service(
    tmp_path: Path, tiny_repository: Path
) -> None:
    with (
        ServiceProcess([tiny_repository], log=tmp_path / "log", workers=1, grace_seconds=0.5) as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection,
    ):
        connection.sendall(
            b"POST /v1/models/tiny-binary/encode HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        )
        time.sleep(0.2)
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started < 20  # and not as long as the request is waited for


def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=2) as service:
        workers = service.workers()
        service.stop(signal.SIGKILL)
        eventually(lambda: not any(is_running(pid) for pid in workers))


def test_requests_that_arrive_one_byte_at_a_time_hold_up_nobody(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=1) as service:
        asked = encodes(1)[0]
        head = f"POST {asked.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
        request = f"{head}{len(asked.body)}\r\n\r\n".encode() + asked.body
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            trickle = threading.Thread(target=lambda: [connection.sendall(bytes([byte])) for byte in request])
            trickle.start()
            assert readiness(service) == (200, READY)
            trickle.join()
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
