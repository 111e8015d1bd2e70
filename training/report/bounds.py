"""The evaluation: bounds beside each other, then every number with its protocol."""

from collections.abc import Sequence

from models.manifest import Metric
from training.evaluation.record import shared_protocol, value_in_words
from training.report.charts import Interval, interval_chart
from training.report.html import Markup, element, section, table

_BOUNDS = ("relaxed_loss", "straight_through_loss", "negative_elbo", "cross_entropy_loss", "exact_negative_elbo")
_CAPTION = (
    "Nats an input, lower is better, with two standard errors to either side. A relaxed loss is no bound of a model "
    "with discrete codes; how far it lies from the straight-through loss is what rounding costs. Below -ELBO, "
    "importance-weighted bounds come closer to -log p(x) the more samples they take, and the exact NLL is it."
)


def evaluation(metrics: Sequence[Metric], step: int) -> Markup:
    """The evaluation of the checkpoint at `step`."""
    measured_on = shared_protocol(metrics)
    shown = [metric for metric in metrics if _is_bound(metric)]
    intervals = [Interval(metric.name, metric.value, metric.standard_error) for metric in shown]
    rows = [
        (
            metric.name,
            value_in_words(metric),
            "" if metric.standard_error is None else f"{metric.standard_error:,.4f}",
            metric.unit,
            metric.protocol.removeprefix(measured_on).removeprefix("; "),
        )
        for metric in metrics
    ]
    return section(
        "Evaluation",
        element("p", f"Measured at step {step:,} on {measured_on}."),
        interval_chart("Losses and bounds", intervals, caption=_CAPTION),
        table(("metric", "value", "std. error", "unit", "how"), rows, class_="metrics"),
    )


def headline(metrics: Sequence[Metric]) -> list[Metric]:
    """-ELBO, the tightest statement on -log p(x), and the rate: what a glance should tell."""
    named = {metric.name: metric for metric in metrics}
    weighted = sorted((name for name in named if _is_importance_weighted(name)), key=_num_samples)
    tightest = "exact_nll" if "exact_nll" in named else (weighted or [""])[-1]
    wanted = ("negative_elbo", "cross_entropy_loss", tightest, "rate_bits")
    return [named[name] for name in wanted if name in named]


def _is_bound(metric: Metric) -> bool:
    return metric.name in (*_BOUNDS, "exact_nll") or _is_importance_weighted(metric.name)


def _is_importance_weighted(name: str) -> bool:
    return name.startswith("iwae_") and name.removeprefix("iwae_").isdigit()


def _num_samples(name: str) -> int:
    return int(name.removeprefix("iwae_"))
