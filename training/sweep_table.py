"""What came of a sweep: every run, and each learning rate over its seeds, from the files of the runs."""

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training import checkpoint, runs
from training.runlog import read_metrics
from training.schedules import value


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one run: the last measurement of the validation split, in nats; None where it has none."""

    run: str
    seed: int
    learning_rate: float
    step: int
    num_steps: int
    bound: str | None
    validation: float | None

    @property
    def is_finished(self) -> bool:
        return self.step == self.num_steps and self.validation is not None


def outcome(folder: Path) -> Outcome:
    """Read from the run's own files."""
    config = runs.read_config(folder)
    paths = checkpoint.checkpoints(folder)
    step = checkpoint.step_of(paths[-1]) if paths else 0
    measured = [
        (name.removeprefix("valid/"), number)
        for record in read_metrics(folder)
        for name, number in record.items()
        if name.startswith("valid/") and record["step"] <= step
    ]
    bound, validation = measured[-1] if measured else (None, None)
    return Outcome(
        run=str(folder),
        seed=config.training.seed,
        learning_rate=value(config.optimizer.learning_rate, 0),
        step=step,
        num_steps=config.training.num_steps,
        bound=bound,
        validation=validation,
    )


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The finished runs of one learning rate: mean and sample standard deviation over seeds, in nats."""

    learning_rate: float
    num_finished: int
    num_runs: int
    mean: float | None
    deviation: float | None
    best_run: str | None


def summaries(outcomes: Sequence[Outcome]) -> list[Summary]:
    """One a learning rate, the best first; those of which no run has finished last."""
    by_rate: dict[float, list[Outcome]] = {}
    for each in outcomes:
        by_rate.setdefault(each.learning_rate, []).append(each)
    rows = []
    for rate, group in by_rate.items():
        finished = [each for each in group if each.is_finished]
        values = [each.validation for each in finished if each.validation is not None]
        rows.append(
            Summary(
                learning_rate=rate,
                num_finished=len(finished),
                num_runs=len(group),
                mean=statistics.mean(values) if values else None,
                deviation=statistics.stdev(values) if len(values) > 1 else None,
                best_run=min(finished, key=lambda each: each.validation or math.inf).run if finished else None,
            )
        )
    return sorted(rows, key=lambda row: math.inf if row.mean is None else row.mean)


def table(outcomes: Sequence[Outcome]) -> str:
    """Plain text, a line a learning rate, the best first: the mean over its finished runs, and the best of them."""
    bound = next((each.bound for each in outcomes if each.bound is not None), "bound")
    lines = [("learning rate", f"validation {bound}", "seeds finished", "best run")]
    for row in summaries(outcomes):
        mean = "none" if row.mean is None else f"{row.mean:.2f}"
        mean += "" if row.deviation is None else f" ± {row.deviation:.2f}"
        lines.append((f"{row.learning_rate:g}", mean, f"{row.num_finished} of {row.num_runs}", row.best_run or ""))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def as_json(outcomes: Sequence[Outcome]) -> str:
    """Every run and every learning rate, as JSON."""
    record: dict[str, Any] = {
        "runs": [dataclasses.asdict(each) for each in outcomes],
        "learning_rates": [dataclasses.asdict(each) for each in summaries(outcomes)],
    }
    return json.dumps(record, indent=2) + "\n"
