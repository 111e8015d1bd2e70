"""From `python -m service` to ready: wall clock and processor time, several starts of one and of two workers.

    python benchmarks/serving/start.py --results benchmarks/serving/start.json

Ready is what GET /v2/health/ready says: all workers are there, and every model has reproduced its golden vectors. The
shipped models are served. Starts of one and of two workers take turns; the first of each is not counted, since then
files are read. With --imports, also which modules take longest to import in a worker, by `python -X importtime`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from run import _machine
from servers import PEERS, ROOT, running

_SHOWN_IMPORTS = 20


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=7, help="that are counted, of each number of workers")
    parser.add_argument("--imports", action="store_true")
    parser.add_argument("--results", type=Path, help="JSON file to write")
    options = parser.parse_args()
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(options.starts + 1):
        for num_workers, starts in found.items():
            starts.append(start(num_workers))
    report = _machine() | {"workers": {str(number): summary(starts[1:]) for number, starts in found.items()}}
    if options.imports:
        report["worker_imports_ms"] = imports()
    if options.results:
        options.results.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({name: report[name] for name in ("workers", "worker_imports_ms") if name in report}, indent=1))


def start(num_workers: int) -> dict[str, float]:
    """Seconds to ready, and processor seconds of all processes until then."""
    [ours] = [peer for peer in PEERS if peer.name == "ours"]
    begun = time.monotonic()
    with running(ours, num_workers) as server:
        while not _is_ready(f"http://127.0.0.1:{server.port}/v2/health/ready"):
            time.sleep(0.005)
        return {"seconds": time.monotonic() - begun, "cpu_seconds": server.cpu_seconds()}


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return bool(reply.status == 200)
    except urllib.error.HTTPError:
        return False


def summary(starts: list[dict[str, float]]) -> dict[str, Any]:
    """Of the starts that count."""
    seconds = sorted(each["seconds"] for each in starts)
    return {
        "starts": len(starts),
        "median_seconds": round(statistics.median(seconds), 3),
        "least_seconds": round(seconds[0], 3),
        "most_seconds": round(seconds[-1], 3),
        "median_cpu_seconds": round(statistics.median(each["cpu_seconds"] for each in starts), 3),
    }


def imports() -> dict[str, float]:
    """Milliseconds of the modules that take longest, with what they import, by name."""
    command = [sys.executable, "-X", "importtime", "-c", "import service.process.worker"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr
    times = {}
    for line in said.splitlines()[1:]:
        _, total, name = line.partition(":")[2].split("|")
        times[name.strip()] = int(total) / 1000
    return dict(sorted(times.items(), key=lambda item: -item[1])[:_SHOWN_IMPORTS])


if __name__ == "__main__":
    main()
