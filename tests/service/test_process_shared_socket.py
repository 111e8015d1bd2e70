"""Where SO_REUSEPORT is not to be had, workers accept from one socket: the same promises, without an even spread."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from service_load import Load
from service_process import ServiceProcess, environment
from test_process_workers import READY, encodes, readiness
from waiting import eventually

# As on a system that has none. Only the supervisor looks for it.
WITHOUT_REUSEPORT = (
    "-c",
    "import runpy, socket; del socket.SO_REUSEPORT; runpy.run_module('service', run_name='__main__')",
)


def listening_sockets(port: int) -> int:
    """How many sockets of this machine listen on a port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    states = [line.split() for line in lines]
    return sum(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in states)


def started(tmp_path: Path, repository: Path, num_workers: int = 2) -> ServiceProcess:
    return ServiceProcess([repository], log=tmp_path / "log", workers=num_workers, program=WITHOUT_REUSEPORT)


def test_workers_share_one_socket_and_end_in_order(tmp_path: Path, tiny_repository: Path) -> None:
    with started(tmp_path, tiny_repository) as service:
        assert listening_sockets(service.port) == 1
        assert len(service.workers()) == 2
        assert readiness(service) == (200, READY)
        with Load(service, encodes()) as load:
            load.wait_for(50)
            assert service.stop() == 0
        assert load.outcomes.keys() <= {"right", "refused"}, load.outcomes
    assert "Traceback" not in service.log_text()


def test_a_restart_of_all_workers_loses_no_request(tmp_path: Path, tiny_repository: Path) -> None:
    with started(tmp_path, tiny_repository) as service:
        before = service.workers()
        with Load(service, encodes()) as load:
            load.wait_for(50)
            service.send_signal(signal.SIGHUP)
            eventually(lambda: len(service.workers()) == 2 and not service.workers() & before)
            load.wait_for(50)
        assert load.outcomes.keys() == {"right"}, load.outcomes
        assert readiness(service) == (200, READY)
    assert "Traceback" not in service.log_text()


def test_a_killed_worker_is_replaced_and_no_answer_is_wrong(tmp_path: Path, tiny_repository: Path) -> None:
    with started(tmp_path, tiny_repository) as service:
        with Load(service, encodes()) as load:
            load.wait_for(50)
            before = service.workers()
            os.kill(min(before), signal.SIGKILL)
            eventually(lambda: len(service.workers()) == 2 and service.workers() != before)
            eventually(lambda: readiness(service) == (200, READY))
            load.wait_for(50)
        assert load.outcomes.keys() <= {"right", "lost"}, load.outcomes
        assert load.outcomes["lost"] <= 4
        assert service.stop() == 0
    assert "Traceback" not in service.log_text()


def test_a_port_in_use_is_told_in_one_sentence(tiny_repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = environment([tiny_repository], host="127.0.0.1", port=port, workers=2, log_level="warning")
        finished = subprocess.run(
            [sys.executable, *WITHOUT_REUSEPORT], env=settings, capture_output=True, text=True, timeout=240
        )
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"Latent Codes does not start: cannot listen on 127.0.0.1 port {port}: ")
    assert finished.stderr.count("\n") == 1
