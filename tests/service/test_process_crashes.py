"""A worker that dies as soon as it is started, over and over: how often it is tried, what is said, and how it ends."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from ports import ReservedPort
from service_process import ServiceProcess, environment
from waiting import eventually

KEY = "alice:a-key-of-sixteen-characters"
PAUSES = [0.0, 0.25, 1.0, 2.0, 5.0, 10.0]
"""After a worker that was old enough, and then one after the other after those that were not."""


class Killer:
    """Kills every worker of a service as soon as there is one."""

    def __init__(self, service: ServiceProcess) -> None:
        self.killed: list[int] = []
        self.times: list[float] = []
        self._service = service
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            for worker in self._service.workers() - set(self.killed):
                # Before: from here to the next one, all of the pause between them has passed.
                self.times.append(time.monotonic())
                os.kill(worker, signal.SIGKILL)
                self.killed.append(worker)
            time.sleep(0.005)


@pytest.mark.slow
def test_a_worker_that_dies_at_once_is_started_less_and_less_often_and_the_log_says_why(
    tmp_path: Path, tiny_repository: Path
) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=1) as service:
        with Killer(service) as killer:
            eventually(lambda: len(killer.killed) == 5)
        eventually(lambda: service.log_text().count("it is replaced in") == 5)
        found = re.findall(r"worker (\d+): ended by signal 9; it is replaced in ([\d.]+) seconds", service.log_text())
        assert [int(pid) for pid, _ in found] == killer.killed
        # The first to be killed was old where the machine is slow.
        first = PAUSES.index(float(found[0][1]))
        assert first in (0, 1)
        pauses = PAUSES[first : first + 5]
        assert [float(pause) for _, pause in found] == pauses
        gaps = [later - earlier for earlier, later in zip(killer.times, killer.times[1:], strict=False)]
        assert all(gap >= pause for gap, pause in zip(gaps, pauses, strict=False))
        # Told to stop, it does not wait for the pause that it is in.
        start = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - start < 5


def test_once_it_lives_again_the_service_is_ready_and_has_counted_the_deaths(
    tmp_path: Path, tiny_repository: Path
) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=2) as service:
        with Killer(service) as killer:
            eventually(lambda: len(killer.killed) >= 4)
        eventually(service.is_ready)
        deaths = re.search(
            r"^latent_codes_worker_deaths_total (\d+)$", httpx.get(f"{service.url}/metrics", timeout=30).text, re.M
        )
        assert deaths is not None
        assert int(deaths[1]) == len(killer.killed)


def test_a_successor_that_refuses_to_start_is_logged_with_its_sentence_and_tried_again(
    tmp_path: Path, tiny_repository: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEY)
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=1, api_keys_file=keys) as service:
        keys.write_text("alice:short")
        [worker] = service.workers()
        os.kill(worker, signal.SIGKILL)
        sentence = f"key alice of {keys}: expected at least 16 printable characters; it is replaced in"
        eventually(lambda: sentence in service.log_text())
        # Nobody restarts it: it finds the file mended.
        keys.write_text(KEY)
        eventually(service.is_ready)
        assert "Traceback" not in service.log_text()


# A supervisor that has something to say to its first worker only when that has ended.
TOO_LATE = (
    "-c",
    "import runpy\n"
    "from service.process.supervisor import Supervisor\n"
    "say = Supervisor._say\n"
    "Supervisor._say = lambda self, worker, **message: (worker.process.wait(), say(self, worker, **message))\n"
    "runpy.run_module('service', run_name='__main__')",
)


@pytest.mark.parametrize("program", [("-m", "service"), TOO_LATE], ids=["soon", "at-once"])
def test_a_worker_that_dies_before_any_served_ends_the_service_in_one_sentence(
    tiny_repository: Path, program: tuple[str, ...]
) -> None:
    with ReservedPort() as port:
        settings = environment([tiny_repository], port=port.number, log_level="warning")
        with subprocess.Popen([sys.executable, *program], env=settings, stderr=subprocess.PIPE, text=True) as process:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            eventually(lambda: bool(children.read_text().split()), every=0.005)
            os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
            _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert told == "Latent Codes does not start: a worker process ended by signal 9 before it served\n"
