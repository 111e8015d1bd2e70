"""Trains and evaluates configurations on all of a split, and keeps what came out with the machine it came from.

    python benchmarks/learning/run.py benchmarks/learning/jang/*.toml --results benchmarks/learning/jang/results.json

Each configuration is one run under `runs/benchmarks`, continued if it was interrupted and not trained again if it is
finished. Results are merged into the file by the name of the run. Several processes may work on different
configurations; two at a time, of one thread each, is what two cores are good for.

With `--recipe` the configurations are the stages of one recipe, in order, each of which starts from the one before:
only the last is evaluated, so that the test split is looked at once. `--seed 1` trains with another seed, as runs of
other names.
"""

import argparse
import dataclasses
import json
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from training import commands, config, runs
from training.config import RunConfig
from training.errors import ConfigError, RunError
from training.evaluation import EvaluationConfig

CPU_SECONDS = "cpu-seconds.json"
ROOT = Path("runs/benchmarks")


def read(path: Path, overrides: Sequence[str], seed: int | None) -> RunConfig:
    """A configuration, with another seed if there is one: then its name, and that of the run it starts from, say so."""
    resolved = config.read(path, overrides)
    if seed is None:
        return resolved
    start = resolved.training.start_from
    training = dataclasses.replace(
        resolved.training, seed=seed, start_from=None if start is None else f"{start}-seed-{seed}"
    )
    return dataclasses.replace(resolved, name=f"{resolved.name}-seed-{seed}", training=training)


def check_recipe(stages: Sequence[RunConfig]) -> None:
    """Raise ConfigError unless the first stage starts from nothing, and every other from the one before it."""
    expected = [None, *(str(ROOT / stage.name) for stage in stages[:-1])]
    for stage, start in zip(stages, expected, strict=True):
        if stage.training.start_from != start:
            raise ConfigError(
                f"--recipe: expected {stage.name} to start from {start or 'nothing'}, which comes before it, "
                f"got {stage.training.start_from or 'nothing'}"
            )


def train(resolved: RunConfig, device: str) -> float | None:
    """Train, or finish training; processor seconds, as `trained`."""
    folder = ROOT / resolved.name
    try:
        runs.create(folder, resolved)
    except RunError:
        if runs.read_config(folder) != resolved:
            raise
    return trained(folder, device)


def run_one(
    path: Path,
    resolved: RunConfig,
    overrides: list[str],
    splits: list[str],
    importance_samples: tuple[int, ...],
    device: str,
) -> dict:
    """Train, or finish training, one configuration and evaluate it."""
    folder = ROOT / resolved.name
    cpu_seconds = train(resolved, device)
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
        "seed": resolved.training.seed,
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

    On a machine that is shared they say what the wall clock cannot. A compiler that was called counts too. None for a
    run trained by something else.
    """
    path = folder / CPU_SECONDS
    before = json.loads(path.read_text()) if path.exists() else None
    newest = runs.checkpointed_steps(folder)[-1]
    if newest == runs.read_config(folder).training.num_steps:
        return before
    started = processor_seconds()
    _, finished = commands.resume(folder, device)
    total = None if newest > 0 and before is None else (before or 0.0) + processor_seconds() - started
    path.write_text(json.dumps(total))
    if not finished:
        sys.exit(130)
    return total


def processor_seconds() -> float:
    """Of this process, and of those that it started and that have ended."""
    return sum(os.times()[:4])


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
    parser.add_argument("--seed", type=int)
    parser.add_argument("--recipe", action="store_true")
    parser.add_argument("--splits", nargs="+", choices=["valid", "test"], default=["valid", "test"])
    parser.add_argument("-m", "--importance-samples", type=int, nargs="*", default=[1000])
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    given = [(path, read(path, options.set, options.seed)) for path in options.configurations]
    if options.recipe:
        try:
            check_recipe([resolved for _, resolved in given])
        except ConfigError as error:
            parser.error(str(error))
        for _, stage in given[:-1]:
            train(stage, options.device)
        given = given[-1:]
    for path, resolved in given:
        outcome = run_one(
            path, resolved, options.set, options.splits, tuple(options.importance_samples), options.device
        )
        merge(options.results, resolved.name, outcome)
