"""The benchmark of training runs, briefly, with the contestants of a GPU too, and writes what it says it writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_contestant_of_a_cpu_and_of_a_gpu_is_timed_and_what_they_learn_is_compared(tmp_path):
    results = tmp_path / "results.json"
    command = [sys.executable, "benchmarks/training/run.py", "--device", "cpu", "--smoke", "--out", str(results)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-2000:]
    report = json.loads(results.read_text())
    assert report["smoke"]
    for workload in report["workloads"].values():
        assert workload["floor_us"] > 0
        times = {name: row["median_us"] for name, row in workload["contestants"].items()}
        assert times.keys() >= {
            "plain loop from images, 1 thread",
            "plain loop from tensors, 1 thread",
            "training, 1 thread",
            "training, bfloat16, 1 thread",
            "plain loop from images, 1 loader process",
            "training, eager",
            "training, recorded",
            "training, recorded, bfloat16",
        }
        assert min(times.values()) > 0
    assert report["seeds_at_once"]["num_runs"] == 16
    bounds = report["quality"]["validation_negative_elbo"]
    assert all(len(values) == report["quality"]["num_seeds"] for values in bounds.values())
    assert "| contestant |" in finished.stdout
