"""The service beside others, and beside its floors, on one machine in one run.

    python benchmarks/serving/run.py --results benchmarks/serving/results.json

Every server runs the same graphs of the shipped `mnist-categorical` (784-512-256-200 encoder) in ONNX Runtime on the
CPU with one thread, with one worker and with two; of each workload the better one counts. Every answer is compared with
ONNX Runtime's before anything is timed, and requests that fail are counted. Rounds are interleaved: all servers once,
then all of them again; a server's number is the best of its rounds. wrk makes the load on the same machine, so the
numbers are for comparing.
"""

import argparse
import json
import os
import platform
import sys
import time
import urllib.request
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import wrk
from servers import MODEL, PEERS, Peer, Running, running
from workloads import BULK_ROWS, Oracle, Workload, bulk, workloads

_LIBRARIES = ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "orjson", "pysimdjson", "numpy", "mosec")


def main() -> None:
    """Measure and write."""
    arguments = _arguments()
    wrk.require()
    oracle = Oracle(_graph("encoder"), _graph("decoder"))
    chosen = [peer for peer in PEERS if peer.name in arguments.servers and _can_run(peer)]
    asked = [
        work
        for work in [*workloads(oracle), bulk(oracle, BULK_ROWS)]
        if work.name in (arguments.workloads or [work.name])
    ]
    found: dict[str, Any] = {"measured": {}, "start_seconds": {}, "resident_mb": {}}
    for _ in range(arguments.rounds):
        for peer in chosen:
            for num_workers in arguments.workers:
                with running(peer, num_workers) as server:
                    _measure(peer, num_workers, server, asked, arguments.seconds, found)
    found["onnxruntime_rows_per_second"] = _bare_rows_per_second(oracle)
    if arguments.requests:
        found["memory"] = _memory(oracle, arguments.requests)
    report = _machine() | {"seconds": arguments.seconds, "rounds": arguments.rounds} | found
    if arguments.results:
        arguments.results.write_text(json.dumps(report, indent=1) + "\n")
    from table import table

    print(table(report))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=3, help="of load for each server, number of workers and workload"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    names = [peer.name for peer in PEERS]
    parser.add_argument("--servers", nargs="+", default=names, choices=names)
    parser.add_argument("--workloads", nargs="+", help="by name; all without it")
    parser.add_argument(
        "--requests", type=int, default=0, help="then send the service that many requests and look at its memory"
    )
    parser.add_argument("--results", type=Path, help="JSON file to write")
    return parser.parse_args()


def _graph(role: str) -> onnxruntime.InferenceSession:
    os.environ["BENCHMARK_MODEL"] = str(MODEL)
    sys.path.insert(0, str(Path(__file__).parent / "peers"))
    from graphs import open_graph

    return open_graph(role)


def _can_run(peer: Peer) -> bool:
    if not peer.name.startswith("mosec"):
        return True
    try:
        version("mosec")
    except PackageNotFoundError:
        print(f"{peer.name} is left out: pip install --group benchmark", file=sys.stderr)
        return False
    return True


def _measure(
    peer: Peer, num_workers: int, server: Running, asked: list[Workload], seconds: float, found: dict[str, Any]
) -> None:
    key = f"{peer.name}/{num_workers}"
    found["start_seconds"].setdefault(key, []).append(round(server.start_seconds, 3))
    for work in asked:
        if not work.needs <= peer.offers:
            continue
        url = server.url(peer, work.operation)
        is_right = "unchecked" in peer.offers or all(work.is_right(_ask(url, work)) for _ in range(2 * num_workers))
        if not is_right:
            raise SystemExit(f"{peer.title} answers {work.title!r} wrongly")
        wrk.load(url, work, min(1.0, seconds))
        spent = server.cpu_seconds()
        measured = wrk.load(url, work, seconds) | {"workers": num_workers}
        measured["cpu_us_per_request"] = round((server.cpu_seconds() - spent) / max(1, measured["requests"]) * 1e6, 1)
        found["measured"].setdefault(work.name, {}).setdefault(peer.name, []).append(measured)
        print(
            f"{peer.name:>14} {num_workers} workers {work.name:>14} {measured['requests_per_second']:9.0f}/s "
            f"p50 {measured['p50_us'] / 1e3:7.2f} ms p99 {measured['p99_us'] / 1e3:7.2f} ms "
            f"errors {measured['errors']} server CPU {measured['cpu_us_per_request']:.0f} us a request",
            file=sys.stderr,
        )
    found["resident_mb"].setdefault(key, []).append([round(size, 1) for size in server.resident_mb().values()])


def _ask(url: str, work: Workload) -> bytes:
    headers = {"Content-Type": work.content_type, "Accept": work.accept}
    request = urllib.request.Request(url, work.body, headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return bytes(reply.read())


def _bare_rows_per_second(oracle: Oracle) -> dict[str, float]:
    """What one thread of this process encodes, by rows a run: the best of some seconds."""
    rates = {}
    for num_rows in (1, 64, 256, 1024):
        rows = np.tile(oracle.inputs, (max(1, num_rows // 64), 1))[:num_rows]
        best, end = 0.0, time.perf_counter() + 1.5
        while time.perf_counter() < end:
            begun = time.perf_counter()
            for _ in range(max(1, 4096 // num_rows)):
                oracle.encoder.run(["codes"], {"inputs": rows})
            best = max(best, max(1, 4096 // num_rows) * num_rows / (time.perf_counter() - begun))
        rates[str(num_rows)] = round(best)
    return rates


def _memory(oracle: Oracle, num_requests: int) -> list[dict[str, Any]]:
    """Resident memory of one worker while requests of all kinds are answered."""
    [ours] = [peer for peer in PEERS if peer.name == "ours"]
    asked = [work for work in workloads(oracle) if work.needs <= ours.offers]
    seen: list[dict[str, Any]] = []
    with running(ours, 1) as server:
        done = 0
        while done < num_requests:
            for work in asked:
                done += wrk.load(server.url(ours, work.operation), work, 2)["requests"]
            seen.append({"requests": done, "resident_mb": round(max(server.resident_mb().values()), 1)})
            print(f"memory after {done} requests: {seen[-1]['resident_mb']} MB", file=sys.stderr)
    return seen


def _machine() -> dict[str, Any]:
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    libraries = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "machine": {"cpu": model[0] if model else platform.machine(), "cores": len(os.sched_getaffinity(0))},
        "python": f"{platform.python_version()}, {platform.python_compiler()}, {' '.join(platform.python_build())}",
        "onnxruntime": onnxruntime.__version__,
        "libraries": libraries,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


if __name__ == "__main__":
    main()
