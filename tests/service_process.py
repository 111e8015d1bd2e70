"""The service as its users run it: `python -m service`, a process of its own on a real port."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ports import ReservedPort

START_SECONDS = 120
STOP_SECONDS = 60
"""However slow the machine; none of them is what a service may take."""


def environment(repositories: Sequence[Path], **settings: object) -> dict[str, str]:
    """This process's environment without its own settings of the service, and with these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LATENT_CODES_")}
    given = {f"LATENT_CODES_{name.upper()}": str(value) for name, value in settings.items()}
    listed = os.pathsep.join(str(repository) for repository in repositories)
    return (
        inherited
        | {"OMP_NUM_THREADS": "1", "LATENT_CODES_MODEL_REPOSITORIES": listed, "LATENT_CODES_WORKERS": "1"}
        | given
    )


class ServiceProcess:
    """A running service, ready when the `with` block begins and ended with SIGTERM when it is left.

    `settings` are those of the service, in lower case and without their prefix. With `wait_until="live"` the block
    begins as soon as the process answers, ready or not. `program` are arguments of Python that run the service.
    """

    def __init__(
        self,
        repositories: Sequence[Path],
        *,
        log: Path,
        wait_until: str = "ready",
        program: Sequence[str] = ("-m", "service"),
        **settings: object,
    ) -> None:
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._wait_until = wait_until
        self._program = program
        self._environment: Mapping[str, str] = environment(repositories, host="127.0.0.1", port=self.port, **settings)
        self._process: subprocess.Popen[bytes] | None = None

    def log_text(self) -> str:
        """What the process has written so far, to either stream."""
        return self._log.read_text(errors="replace")

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        assert self._process is not None
        self._process.send_signal(number)

    def workers(self) -> set[int]:
        """Process ids of the workers there are. Linux only."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(child) for child in children}

    def is_ready(self) -> bool:
        """What the readiness probe says now."""
        return self._answers("ready")

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", *self._program], stdout=log, stderr=log, env=self._environment
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers(self._wait_until):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                self._reserved.close()
                raise RuntimeError(f"the service did not become {self._wait_until}; its log:\n{self.log_text()}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._reserved.close()

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """End the process, by default as `docker stop` does; wait for it, and return its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(with_signal)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _answers(self, probe: str) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/v2/health/{probe}", timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
