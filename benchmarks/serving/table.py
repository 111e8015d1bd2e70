"""The tables of benchmarks/README.md from the JSON that `run.py` wrote.

python benchmarks/serving/table.py benchmarks/serving/results.json
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from servers import PEERS
from workloads import BULK_ROWS

_TITLES = {peer.name: peer.title for peer in PEERS}


def best(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run with the most requests a second."""
    return max(runs, key=lambda run: run["requests_per_second"])


def table(report: dict[str, Any]) -> str:
    """Requests a second, of the better number of workers; latencies; CPU time; then memory and start."""
    measured = report["measured"]
    works = list(measured)
    names = [name for name in _TITLES if any(name in runs for runs in measured.values())]

    def rows(cell: Callable[[dict[str, Any]], str]) -> list[str]:
        lines = ["| server | " + " | ".join(works) + " |", "| --- |" + " --- |" * len(works)]
        for name in names:
            cells = [cell(best(measured[work][name])) if name in measured[work] else "" for work in works]
            lines.append(f"| {_TITLES[name]} | {' | '.join(cells)} |")
        return lines

    lines = ["Requests a second:", "", *rows(lambda run: f"{run['requests_per_second']:,.0f}")]
    lines += ["", "p50 / p99 in milliseconds:", ""]
    lines += rows(lambda run: f"{run['p50_us'] / 1e3:.2f} / {run['p99_us'] / 1e3:.2f}")
    lines += ["", "Microseconds of CPU a request, all processes of the server:", ""]
    lines += rows(lambda run: f"{run['cpu_us_per_request']:,.0f}")
    errors = sum(run["errors"] for runs in measured.values() for peer in runs.values() for run in peer)
    lines += ["", f"Requests that failed: {errors}.", "", "Requests a second, as a ratio to each other server's:", ""]
    lines += ["| server | " + " | ".join(works) + " |", "| --- |" + " --- |" * len(works)]
    for name in names:
        ratios = [_ratio(measured[work], name) for work in works]
        if name != "ours" and any(ratios):
            lines.append(f"| {_TITLES[name]} | {' | '.join(ratios)} |")
    lines.append("")
    bare = max(report["onnxruntime_rows_per_second"].values())
    for run in measured.get("bulk", {}).get("ours", ()):
        rate = run["requests_per_second"] * BULK_ROWS
        share = f"{rate / bare:.0%} of ONNX Runtime's {bare:,.0f} in one thread"
        lines.append(f"Large binary batches, {run['workers']} workers: {rate:,.0f} rows/s, {share}.")
    for key, sizes in report["resident_mb"].items():
        lines.append(f"{key}: started in {min(report['start_seconds'][key]):.2f} s; resident MB: {sizes[-1]}")
    for point in report.get("memory", ()):
        lines.append(f"after {point['requests']:,} requests: {point['resident_mb']} MB")
    return "\n".join(lines)


def _ratio(runs: dict[str, list[dict[str, Any]]], peer: str) -> str:
    """Of ours to that of a peer; empty where one of them was not asked."""
    if "ours" not in runs or peer not in runs:
        return ""
    return f"{best(runs['ours'])['requests_per_second'] / best(runs[peer])['requests_per_second']:.2f}"


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text())))
