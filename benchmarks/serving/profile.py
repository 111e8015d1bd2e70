"""Where the time of a request goes, before and after: py-spy looks into the tutorial's server and into the service.

    python benchmarks/serving/profile.py --results benchmarks/serving/profile.json

wrk asks one worker for W1 (one row as JSON, 32 connections), W2 (64 rows as JSON, 8 connections) and W3 (64 rows as raw
float32, 8 connections; the tutorial has none) while py-spy notes the stacks of the threads that run, many times a
second; those that only wait for work are left out. A sample belongs to what its innermost known frame is part of;
compiled code counts for the line that called it. Microseconds are that share of the processor time of a request, which
is measured before while nobody looks. Needs wrk, and the right to look into other processes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import wrk
from run import _graph, _machine
from servers import PEERS, Peer, Running, running
from workloads import Oracle, Workload, workloads

PARTS = {
    "the network: ONNX Runtime": ("onnxruntime", "service/sessions.py"),
    "the body: JSON and arrays": (
        "service/wire/json_",
        "service/wire/array_bodies",
        "service/wire/media_types",
        "service/checks.py",
        "/json/",
    ),
    "validation: pydantic, parameters": ("pydantic", "service/wire/parameters", "service/schemas", "service/sampling"),
    "the reply": ("service/wire/replies", "fastapi/encoders", "starlette/responses", "models/codes"),
    "batching and dispatch": (
        "service/batching",
        "service/dispatch",
        "service/operations",
        "service/engine",
        "models/",
    ),
    "counting, ids, admission": ("service/edge", "service/admission", "service/observation", "service/statistics"),
    "routes of the service": ("service/routes", "service/given", "service/exchange", "service/catalog", "service/wire"),
    "threads": ("anyio", "concurrent/futures", "threading.py"),
    "the framework: FastAPI, Starlette": ("fastapi", "starlette", "contextlib"),
    "HTTP: uvicorn and connections": (
        "uvicorn",
        "service/process/connections",
        "service/process/direct",
        "service/process/eager",
        "service/process/long_bodies",
    ),
    "the event loop": ("asyncio", "uvloop", "service/process"),
}
"""Each with what the file of a frame may hold, from the most telling part to the least."""
OWN_CODE = "the server's own function"
WAITING = ("Condition.wait (", "_worker (", "wait (")
"""Innermost frames of threads that have nothing to do."""
_RATE = 200
_WORKS = ("w1-32", "w2", "w3")
_SERVERS = ("tutorial", "ours")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=8, help="of each server and workload")
    parser.add_argument("--results", type=Path, help="JSON file to write")
    options = parser.parse_args()
    wrk.require()
    oracle = Oracle(_graph("encoder"), _graph("decoder"))
    asked = [work for work in workloads(oracle) if work.name in _WORKS]
    report: dict[str, Any] = {**_machine(), "seconds": options.seconds, "profiles": {}}
    for peer in PEERS:
        if peer.name in _SERVERS:
            with running(peer, 1) as server:
                for work in asked:
                    if work.needs <= peer.offers:
                        profile = profiled(peer, server, work, options.seconds)
                        report["profiles"].setdefault(work.name, {})[peer.name] = profile
    if options.results:
        options.results.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))


def profiled(peer: Peer, server: Running, work: Workload, seconds: int) -> dict[str, Any]:
    """Processor time of a request in all, by part, and of the lines that take most."""
    url = server.url(peer, work.operation)
    wrk.load(url, work, 1)
    spent = server.cpu_seconds()
    measured = wrk.load(url, work, seconds)
    per_request = (server.cpu_seconds() - spent) / max(1, measured["requests"]) * 1e6
    worker = max(server.processes(), key=_ticks)
    with tempfile.TemporaryDirectory() as folder:
        stacks = Path(folder, "stacks")
        spying = threading.Thread(target=_spy, args=(worker, seconds, stacks))
        spying.start()
        wrk.load(url, work, seconds + 1)
        spying.join()
        samples = [line.rpartition(" ") for line in stacks.read_text().splitlines()]
    parts, lines, total = Counter[str](), Counter[str](), 0
    for stack, _, count in samples:
        frames = stack.split(";")
        if frames[-1].startswith(WAITING):
            continue
        total += int(count)
        parts[_part(frames)] += int(count)
        lines[_line(frames[-1])] += int(count)
    return {
        "cpu_us_per_request": round(per_request, 1),
        "requests_per_second": round(measured["requests_per_second"]),
        "samples": total,
        "parts_us": {name: round(count / total * per_request, 1) for name, count in parts.most_common()},
        "lines_us": {name: round(count / total * per_request, 1) for name, count in lines.most_common(12)},
    }


def _spy(pid: int, seconds: int, stacks: Path) -> None:
    command = ["py-spy", "record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(_RATE)]
    # Without this the process is stopped for every look at its threads, of which the tutorial's has 40.
    command += ["--nonblocking", "--format", "raw", "--full-filenames", "--output", str(stacks)]
    subprocess.run(command, check=True, capture_output=True)


def _part(frames: list[str]) -> str:
    for frame in reversed(frames):
        for name, marks in PARTS.items():
            if any(mark in frame for mark in marks):
                return name
    return OWN_CODE


def _line(frame: str) -> str:
    """`run (service/sessions.py:90)`: without where the environment lies."""
    name, _, place = frame.partition(" (")
    parts = Path(place.rstrip(")")).parts
    return f"{name} ({'/'.join(parts[-2:])})"


def _ticks(pid: int) -> int:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(after_name[11]) + int(after_name[12])


def table(report: dict[str, Any]) -> str:
    """Microseconds of a request by part, one table a workload."""
    lines = []
    for work, profiles in report["profiles"].items():
        names = list(profiles)
        lines += [f"{work}, microseconds of processor time a request:", ""]
        lines += [f"| | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
        found = {part for profile in profiles.values() for part in profile["parts_us"]}
        for part in sorted(found, key=lambda part: -max(each["parts_us"].get(part, 0) for each in profiles.values())):
            cells = [f"{profiles[name]['parts_us'].get(part, 0):,.0f}" for name in names]
            lines.append(f"| {part} | {' | '.join(cells)} |")
        totals = [f"{profiles[name]['cpu_us_per_request']:,.0f}" for name in names]
        lines += [f"| all | {' | '.join(totals)} |", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
