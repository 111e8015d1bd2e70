"""Encoding by batch size on a GPU, or on the CPU as its twin: ONNX Runtime, the engine, and the service over HTTP.

    python benchmarks/serving/gpu.py --results benchmarks/serving/gpu.json
    python benchmarks/serving/gpu.py --device cpu --results benchmarks/serving/gpu-cpu.json

Under ten minutes by itself. For batches of 1 to 4096 rows of the shipped `mnist-categorical`:

    raw         the encoder's graph in ONNX Runtime, arrays in and codes out, as `session.run` copies them
    bound       the same through `IOBinding`: inputs copied to the device once, outputs allocated there and copied back
    padded      `bound`, for half as many rows and one, padded to this size
    noise       the noise of a sample for as many rows, drawn on the host by `models.noise`, and its bytes
    sampled     encoder and sampler at temperature 1 through the engine, noise included
    served      one npy body after the other over one connection to the service, and over eight

Each time is the median of runs after some that are not counted, with the 99th percentile; rows a second follow from the
median. Every way gives the codes of the CPU before it is timed, but for rows whose margin is below the near-tie margin.
On a GPU the settings are those of the service: TF32 off, arenas that grow by what is needed.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from invariance import SHIPPED, running

from models import noise
from models.graphs import signatures
from models.repository import Repository, StoredModel
from service.engine import Engine
from service.providers import DeviceOptions
from service.sessions import GraphSession

MODEL = "mnist-categorical"
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
MARGIN = 1e-4
_CALLERS = 8


def main() -> None:
    """Measure, print and write."""
    options = _arguments()
    stored = Repository(SHIPPED).read(MODEL)
    device = options.device or _device()
    sizes = [size for size in SIZES if size <= options.max_rows]
    report: dict[str, Any] = {
        "machine": _machine(),
        "device": device,
        "model": MODEL,
        "seconds_per_point": options.seconds,
        "batches": {str(size): {} for size in sizes},
    }
    bench = Bench(stored, device, options.seconds)
    report["provider"] = bench.engine.provider
    for size in sizes:
        report["batches"][str(size)] = bench.in_process(size)
        print(f"{size:>5} rows  {_line(report['batches'][str(size)])}", file=sys.stderr)
    if not options.no_http:
        with running(device, WORKERS=1, MAX_QUEUE_ROWS=2 * _CALLERS * max(SIZES)) as url:
            for size in sizes:
                report["batches"][str(size)] |= bench.served(size, url)
                print(f"{size:>5} rows  {_line(report['batches'][str(size)])}", file=sys.stderr)
    if options.results:
        options.results.write_text(json.dumps(report, indent=1) + "\n")
    print(_table(report))


class Bench:
    """The ways of encoding a batch."""

    def __init__(self, stored: StoredModel, device: Any, seconds: float) -> None:
        self.engine = Engine.load(stored, device=device, max_rows_per_run=max(SIZES))
        self.reference = Engine.load(stored, device="cpu")
        self._seconds = seconds
        self._manifest = stored.manifest
        signature = signatures(stored.manifest)["encoder"]

        def encoder(*, bound: bool, padded: bool = False) -> GraphSession:
            chosen = DeviceOptions(binds_io=bound, pads_rows=padded)
            return GraphSession(
                stored.graphs["encoder"],
                signature,
                device=device,
                num_threads=1,
                options=chosen,
                max_rows=max(SIZES),
            )

        self._raw, self._bound = encoder(bound=False), encoder(bound=True)
        self._padded = encoder(bound=True, padded=True)

    def in_process(self, size: int) -> dict[str, Any]:
        """Microseconds of each way."""
        rows = self._rows(size)
        odd = rows[: size // 2 + 1]
        found = {}
        for name, session, given in (
            ("raw", self._raw, rows),
            ("bound", self._bound, rows),
            ("padded", self._padded, odd),
        ):
            self._compare(given, session.run(given, outputs=("codes",))[0])
            found[name] = _timed(
                lambda session=session, given=given: session.run(given, outputs=("codes",)), self._seconds
            )
        shape = self._manifest.latent_shape
        found["noise"] = _timed(lambda: noise.draw("gumbel", 7, size, shape), self._seconds)
        found["noise"]["bytes"] = noise.draw("gumbel", 7, size, shape).nbytes
        found["sampled"] = _timed(lambda: self.engine.encode(rows, temperature=1.0, seed=7), self._seconds)
        for name in found:
            found[name]["rows_per_second"] = round(size / found[name]["p50_us"] * 1e6)
        return found

    def served(self, size: int, url: str) -> dict[str, Any]:
        """Microseconds of a request, alone and beside seven others."""
        rows = self._rows(size)
        content = BytesIO()
        np.save(content, rows)
        path = f"{url}/v1/models/{MODEL}/encode"

        def ask() -> np.ndarray:
            headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
            with urllib.request.urlopen(urllib.request.Request(path, content.getvalue(), headers), timeout=60) as reply:
                return np.load(BytesIO(reply.read()))

        self._compare(rows, ask())
        alone = _timed(ask, self._seconds)
        alone["rows_per_second"] = round(size / alone["p50_us"] * 1e6)
        with ThreadPoolExecutor(_CALLERS) as callers:
            begun = time.perf_counter()
            times = [
                each for found in callers.map(lambda _: _times(ask, self._seconds), range(_CALLERS)) for each in found
            ]
            elapsed = time.perf_counter() - begun
        together = _summary(times) | {"rows_per_second": round(size * len(times) / elapsed)}
        return {"served_1": alone, "served_8": together}

    def _rows(self, size: int) -> np.ndarray:
        golden = self._manifest.golden.inputs.array().reshape(-1, self._manifest.input.size)
        mixed = golden[np.arange(size) % len(golden)] + np.random.default_rng(size).normal(0, 0.1, (size, 784))
        return mixed.clip(self._manifest.input.minimum, self._manifest.input.maximum).astype(np.float32)

    def _compare(self, rows: np.ndarray, codes: np.ndarray) -> None:
        expected = self.reference.encode(rows, outputs=("codes", "margins"))
        wrong = (codes != expected.codes) & ~(expected.margins < MARGIN)
        if wrong.any():
            raise SystemExit(f"{int(wrong.sum())} symbols of {len(rows)} rows are not those of the CPU")


def _timed(work: Callable[[], Any], seconds: float) -> dict[str, Any]:
    return _summary(_times(work, seconds))


def _times(work: Callable[[], Any], seconds: float) -> list[float]:
    """Of runs for that long, and of five at least, after a fifth of it that is not counted."""
    for enough, keep in ((seconds / 5, False), (seconds, True)):
        times: list[float] = []
        begun = time.perf_counter()
        while len(times) < (5 if keep else 2) or time.perf_counter() - begun < enough:
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    return times


def _summary(times: list[float]) -> dict[str, Any]:
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {"runs": len(times), "p50_us": round(statistics.median(ordered) * 1e6, 1), "p99_us": round(p99 * 1e6, 1)}


def _device() -> str:
    """A GPU where there is one that ONNX Runtime was built for, and the CPU elsewhere."""
    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return "cuda" if has_cuda and Path("/dev/nvidiactl").exists() else "cpu"


def _machine() -> dict[str, Any]:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    found = {
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "onnxruntime": onnxruntime.__version__,
        "time": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    try:
        asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        found["gpu"] = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        found["gpu"] = None
    return found


def _line(ways: dict[str, Any]) -> str:
    return "  ".join(f"{name} {found['p50_us']:.0f} us" for name, found in ways.items())


def _table(report: dict[str, Any]) -> str:
    ways = list(next(iter(report["batches"].values())))
    lines = [f"{report['provider']}; microseconds, median", "", f"| rows | {' | '.join(ways)} |"]
    lines.append("| --- |" + " --- |" * len(ways))
    for size, found in report["batches"].items():
        cells = [f"{found[way]['p50_us']:,.0f}" for way in ways]
        lines.append(f"| {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--device", choices=["cpu", "cuda", "tensorrt"], help="by default CUDA where there is a GPU, else the CPU"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="of each way and batch size")
    parser.add_argument("--max-rows", type=int, default=max(SIZES))
    parser.add_argument("--no-http", action="store_true", help="leave the service out")
    parser.add_argument("--results", type=Path, help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
