"""The servers that are compared: how each is started, and at which path it does what."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODEL = ROOT / "models" / "shipped" / "mnist-categorical" / "1"
PORT_PLACE = "{port}"

_START_SECONDS = 60


@dataclass(frozen=True)
class Peer:
    """A server, for any number of workers."""

    name: str
    title: str
    command: tuple[str, ...]
    """`{port}` and `{workers}` are put in."""
    offers: frozenset[str]
    path: str = "/{operation}"
    environment: Mapping[str, str] = field(default_factory=dict)


def _uvicorn(app: str) -> tuple[str, ...]:
    options = ("--port={port}", "--workers={workers}", "--no-access-log", "--log-level=warning", "--no-proxy-headers")
    return (sys.executable, "-m", "uvicorn", app, *options)


_MOSEC = (sys.executable, "mosec_server.py", "--port={port}", "--address=127.0.0.1", "--log-level=error")

PEERS = (
    Peer(
        "floor",
        "bare uvicorn, fixed reply",
        _uvicorn("floor:app"),
        frozenset({"raw", "unchecked", "sampling", "decode", "npy"}),
    ),
    Peer(
        "direct",
        "bare uvicorn + orjson + ONNX Runtime",
        _uvicorn("direct:app"),
        frozenset({"raw", "sampling", "decode", "npy"}),
    ),
    Peer("tutorial", "FastAPI as tutorials write it", _uvicorn("tutorial:app"), frozenset({"decode"})),
    Peer("mosec", "mosec", _MOSEC, frozenset({"raw"}), "/inference", {"BENCHMARK_MAX_BATCH": "1"}),
    Peer(
        "mosec-joined", "mosec, batches of 32", _MOSEC, frozenset({"raw"}), "/inference", {"BENCHMARK_MAX_BATCH": "32"}
    ),
    Peer(
        "ours",
        "Latent Codes",
        (sys.executable, "-m", "service"),
        frozenset({"raw", "sampling", "decode", "npy", "bulk"}),
        "/v1/models/mnist-categorical/{operation}",
        {
            "LATENT_CODES_PORT": "{port}",
            "LATENT_CODES_WORKERS": "{workers}",
            "LATENT_CODES_MODEL_REPOSITORIES": str(MODEL.parents[1]),
            "LATENT_CODES_LOG_LEVEL": "warning",
        },
    ),
)


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    port: int
    process: subprocess.Popen[bytes]
    start_seconds: float

    def url(self, peer: Peer, operation: str) -> str:
        """Of one operation."""
        return f"http://127.0.0.1:{self.port}{peer.path.format(operation=operation)}"

    def processes(self) -> list[int]:
        """The process and all that descend from it."""
        parents: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                after_name = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(after_name[1]), []).append(int(stat.parent.name))
        found, to_look_at = [], [self.process.pid]
        while to_look_at:
            found.append(to_look_at.pop())
            to_look_at.extend(parents.get(found[-1], ()))
        return found

    def cpu_seconds(self) -> float:
        """User and system time of all its processes so far."""
        ticks = 0
        for pid in self.processes():
            try:
                after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += int(after_name[11]) + int(after_name[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> dict[int, float]:
        """Resident memory of each process, in MB."""
        page, sizes = os.sysconf("SC_PAGE_SIZE"), {}
        for pid in self.processes():
            try:
                sizes[pid] = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page / 1e6
            except OSError:
                continue
        return sizes


@contextmanager
def running(peer: Peer, num_workers: int) -> Iterator[Running]:
    """The server, listening on a port of its own; ended with everything it started when the block is left."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    values = {"port": str(port), "workers": str(num_workers)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LATENT_CODES_")} | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE / "peers")]),
        "BENCHMARK_MODEL": str(MODEL),
        "BENCHMARK_WORKERS": str(num_workers),
        **{name: value.format(**values) for name, value in peer.environment.items()},
    }
    command = [part.format(**values) for part in peer.command]
    begun = time.monotonic()
    process = subprocess.Popen(
        command, cwd=HERE / "peers", env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        _wait_until_it_answers(process, port)
        yield Running(port, process, time.monotonic() - begun)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode} before it answered")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            time.sleep(0.02)
    raise RuntimeError("the server did not answer in time")
