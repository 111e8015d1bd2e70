"""An evaluation as a value, as a table, and as the file that `export` and `report` read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from models.manifest import Metric
from training.code_usage import MARGIN_EDGES, CodeUsage
from training.errors import RunError


@dataclass(frozen=True)
class Evaluation:
    """Metrics, and what does not fit into one number: per-latent KL in nats, averaged over rows, and code usage."""

    metrics: tuple[Metric, ...]
    latent_kl: Float64[np.ndarray, " N"]
    usage: CodeUsage

    def __getitem__(self, name: str) -> Metric:
        """The metric of that name. Raises KeyError with the names there are."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(f"{name!r} is none of {', '.join(metric.name for metric in self.metrics)}")

    def table(self) -> str:
        """See `table`."""
        return table(self.metrics)


def table(metrics: Sequence[Metric]) -> str:
    """Plain text: what was measured on, then a line a metric: name, value with its standard error, unit, how."""
    measured_on = shared_protocol(metrics)
    lines = [("metric", "value", "std. error", "unit", "how")]
    for metric in metrics:
        error = "" if metric.standard_error is None else f"{metric.standard_error:,.4f}"
        how = metric.protocol.removeprefix(measured_on).removeprefix("; ")
        lines.append((metric.name, value_in_words(metric), error, metric.unit, how))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {error:>{widths[2]}}  {unit:<{widths[3]}}  {how}"
        for name, value, error, unit, how in lines
    ]
    return "\n".join([*([measured_on] if measured_on else []), *rows])


def shared_protocol(metrics: Sequence[Metric]) -> str:
    """What all protocols begin with, up to a semicolon: the data. Empty when they differ from the start."""
    parts = zip(*(metric.protocol.split("; ") for metric in metrics), strict=False)
    return "; ".join(first for first, *others in takewhile(lambda each: len(set(each)) == 1, parts))


def value_in_words(metric: Metric) -> str:
    """The value; counts as whole numbers."""
    is_count = metric.standard_error is None and float(metric.value).is_integer()
    return f"{metric.value:,.0f}" if is_count else f"{metric.value:,.4f}"


@dataclass(frozen=True)
class EvaluationRecord:
    """What is kept of an evaluation: the metrics, and the step of the checkpoint that was measured."""

    step: int
    metrics: tuple[Metric, ...]


def write_record(path: Path, evaluation: Evaluation, *, step: int) -> None:
    """Keep an evaluation of the checkpoint at `step`, arrays and all, in one rename."""
    usage = evaluation.usage
    record: dict[str, Any] = {
        "step": step,
        "metrics": [metric.model_dump(mode="json") for metric in evaluation.metrics],
        "latent_kl": evaluation.latent_kl.tolist(),
        "aggregate_posterior": usage.aggregate_posterior.tolist(),
        "code_frequencies": usage.code_frequencies.tolist(),
        # The first edge is 0 and the last infinity, which JSON has no name for.
        "margins": {"inner_edges": MARGIN_EDGES[1:-1].tolist(), "counts": usage.margin_counts.tolist()},
    }
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_record(path: Path) -> EvaluationRecord | None:
    """What `write_record` kept there; None when there is no file. Raises RunError when it holds something else."""
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return EvaluationRecord(
            int(record["step"]), tuple(Metric.model_validate(metric) for metric in record["metrics"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} does not hold the metrics that `python -m training evaluate` writes: run it again"
        ) from error
