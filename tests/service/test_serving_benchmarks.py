"""The benchmarks of serving that need no load generator run, briefly, and write what they say they write."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def report_of(script: str, *arguments: str, folder: Path) -> dict[str, Any]:
    results = folder / "results.json"
    command = [sys.executable, f"benchmarks/serving/{script}", *arguments, "--results", str(results)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return json.loads(results.read_text())


@pytest.mark.slow
def test_batch_sizes_are_timed_in_every_way_without_a_gpu_too(tmp_path: Path) -> None:
    report = report_of("gpu.py", "--device", "cpu", "--max-rows", "4", "--seconds", "0.01", folder=tmp_path)
    assert report["provider"] == "CPUExecutionProvider"
    assert list(report["batches"]) == ["1", "2", "4"]
    for ways in report["batches"].values():
        assert list(ways) == ["raw", "bound", "padded", "noise", "sampled", "served_1", "served_8"]
        assert all(way["p50_us"] > 0 and way["rows_per_second"] > 0 for way in ways.values())


@pytest.mark.slow
def test_on_the_cpu_no_margin_is_needed(tmp_path: Path) -> None:
    report = report_of("invariance.py", "--rows", "300", "--served-rows", "0", folder=tmp_path)
    for found in report["models"].values():
        assert found["rows"] == 300
        assert found["margin_needed"] == found["near_tie_margin"] == 0
        assert found["differing_at_0"] == found["differing_at_1"] == found["firm_but_differing"] == 0


def test_ways_of_reading_json_are_timed_side_by_side(tmp_path: Path) -> None:
    report = report_of("json_bodies.py", "--rounds", "1", folder=tmp_path)
    assert {"1 flat, 4 decimals", "64 flat, 4 decimals"} <= set(report["microseconds"])
    assert all(min(times.values()) > 0 for times in report["microseconds"].values())
