"""What the page on capacity is computed by."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
REPORT = {
    "machine": {"cpu": "a slow thing", "cores": 2},
    "models": {
        "m": {
            "jobs": [
                {"source": ".npy", "workers": 1, "rows_per_second": 1_000.0},
                {"source": ".npy", "workers": 2, "rows_per_second": 1_600.0},
            ]
        }
    },
}


def computed(results: Path, *options: str) -> list[list[str]]:
    """The cells of the table's lines."""
    script = ROOT / "benchmarks" / "capacity.py"
    finished = subprocess.run(
        [sys.executable, script, "--results", results, *options], capture_output=True, text=True, check=True
    )
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in finished.stdout.splitlines()[2:]]


def test_cost_is_rows_by_rate_by_price_and_what_was_not_measured_has_none(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(REPORT))
    core, gpu = computed(tmp_path / "results.json", "--rows", "7.2e6", "--core-hour", "0.5", "--gpu-hour", "4")
    assert core == ["`m`", ".npy", "a core of a slow thing", "1,000", "2.0", "1.00"]
    assert gpu[-3:] == ["not measured", "not measured", "not measured"]


def test_a_rate_of_ones_own_is_priced_too(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(REPORT))
    core, gpu = computed(
        tmp_path / "results.json", "--rows", "3.6e9", "--gpu-hour", "4", "--gpu-rows-per-second", "1e6"
    )
    assert core[-1] == "give a price"
    assert gpu[-3:] == ["1,000,000", "1.0", "4.00"]
