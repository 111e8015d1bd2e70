"""Trains and evaluates configurations on all of a split, and keeps what came out with the machine it came from.

    python benchmarks/learning/run.py benchmarks/learning/jang/*.toml --results benchmarks/learning/jang/results.json

Each configuration is one run under `runs/benchmarks`, continued if it was interrupted and not trained again if it is
finished. Results are merged into the file by the name of the run. Several processes may work on different
configurations; two at a time, of one thread each, is what two cores are good for.
"""

import argparse
import json
import logging
import platform
import sys
import time
from pathlib import Path

import torch

from training import commands, config, runs
from training.errors import RunError
from training.evaluation import EvaluationConfig

CPU_SECONDS = "cpu-seconds.json"


def run_one(
    path: Path, overrides: list[str], splits: list[str], importance_samples: tuple[int, ...], device: str
) -> dict:
    """Train, or finish training, one configuration and evaluate it."""
    resolved = config.read(path, overrides)
    folder = Path("runs/benchmarks") / resolved.name
    try:
        runs.create(folder, resolved)
    except RunError:
        if runs.read_config(folder) != resolved:
            raise
    cpu_seconds = trained(folder, device)
    results = {}
    for split in splits:
        evaluation = commands.evaluate_run(
            folder, split, EvaluationConfig(importance_samples=importance_samples), device
        )
        results[split] = {
            metric.name: {"value": metric.value, "standard_error": metric.standard_error, "protocol": metric.protocol}
            for metric in evaluation.metrics
        }
    opened = runs.open_run(folder, device=torch.device("cpu"))
    return {
        "configuration": str(path),
        "overrides": overrides,
        "num_steps": opened.step,
        "training_seconds": round(opened.seconds, 1),
        "training_cpu_seconds": None if cpu_seconds is None else round(cpu_seconds, 1),
        "earlier_stages": earlier_stages(folder),
        "device": opened.device,
        "machine": machine(),
        "metrics": results,
    }


def earlier_stages(folder: Path) -> list[dict]:
    """What the runs cost that this one began from, the first of them first."""
    start = runs.read_config(folder).training.start_from
    if start is None:
        return []
    opened = runs.open_run(Path(start), device=torch.device("cpu"))
    path = opened.folder / CPU_SECONDS
    return [
        *earlier_stages(opened.folder),
        {
            "name": opened.config.name,
            "num_steps": opened.step,
            "training_seconds": round(opened.seconds, 1),
            "training_cpu_seconds": json.loads(path.read_text()) if path.exists() else None,
        },
    ]


def trained(folder: Path, device: str) -> float | None:
    """Train to the last step; processor seconds of all threads, kept in the run, over every process that worked on it.

    On a machine that is shared they say what the wall clock cannot. None for a run trained by something else.
    """
    path = folder / CPU_SECONDS
    before = json.loads(path.read_text()) if path.exists() else None
    newest = runs.checkpointed_steps(folder)[-1]
    if newest == runs.read_config(folder).training.num_steps:
        return before
    started = time.process_time()
    _, finished = commands.resume(folder, device)
    total = None if newest > 0 and before is None else (before or 0.0) + time.process_time() - started
    path.write_text(json.dumps(total))
    if not finished:
        sys.exit(130)
    return total


def machine() -> str:
    """Processor, cores and versions, in words."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {torch.get_num_threads()} thread of a shared machine{gpu}, torch {torch.__version__}"


def merge(path: Path, name: str, result: dict) -> None:
    """Add or replace one result."""
    results = json.loads(path.read_text()) if path.exists() else {}
    results[name] = result
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configurations", type=Path, nargs="+")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--splits", nargs="+", choices=["valid", "test"], default=["valid", "test"])
    parser.add_argument("-m", "--importance-samples", type=int, nargs="*", default=[1000])
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for configuration in options.configurations:
        outcome = run_one(configuration, options.set, options.splits, tuple(options.importance_samples), options.device)
        merge(options.results, config.read(configuration, options.set).name, outcome)
