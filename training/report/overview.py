"""What was trained: facts at a glance, the data and its protocol, the configuration."""

import json
from collections.abc import Sequence

from models.manifest import Metric
from training import config as configuration
from training.data.splits import SPLIT_NAMES
from training.report.bounds import headline
from training.report.html import Markup, element, folded, joined, section, table
from training.runs import TrainedRun


def title(run: TrainedRun) -> Markup:
    """Name and description, and what a reader wants to know first."""
    config, latent = run.config, run.model.latent
    layout = latent.layout
    codes = (
        f"{latent.num_latents} bits"
        if latent.kind == "binary"
        else f"{latent.num_latents} variables of {latent.num_categories} values"
    )
    description = element("p", config.description) if config.description else Markup("")
    counted = f"{codes}, {layout.num_bytes} byte{'' if layout.num_bytes == 1 else 's'} a code, after {run.step:,} steps"
    return joined(element("h1", config.name), description, element("p", counted, class_="quiet"))


def facts(run: TrainedRun, metrics: Sequence[Metric]) -> Markup:
    """A card a fact."""
    config = run.config
    shown = {
        "Estimator": _spaced(config.estimator.name),
        "Relaxation": _spaced(run.model.relaxation.name),
        "Likelihood": run.model.likelihood.label,
        "Prior": config.prior.name,
        "Weights": f"{sum(weight.numel() for weight in run.model.parameters()):,}",
        "Trained for": _duration(run.seconds),
        "Device": run.device,
    }
    for metric in headline(metrics):
        error = "" if metric.standard_error is None else f" ± {metric.standard_error:.2f}"
        shown[f"{metric.name}, {metric.split}"] = f"{metric.value:.2f}{error} {metric.unit}"
    cards = [element("div", element("dt", name), element("dd", value)) for name, value in shown.items()]
    return element("dl", cards, class_="facts")


def data(run: TrainedRun) -> Markup:
    """What numbers were measured on, and where the data came from."""
    rows = [(name, run.dataset.protocol(name)) for name in SPLIT_NAMES]
    origin = json.dumps(run.dataset.provenance, indent=2, ensure_ascii=False)
    return section("Data", table(("split", "protocol"), rows), folded("Where it came from", element("pre", origin)))


def settings(run: TrainedRun) -> Markup:
    """The resolved configuration, which can be run again."""
    return section("Configuration", folded("config.toml", element("pre", configuration.to_toml(run.config))))


def _spaced(name: str) -> str:
    """A name of the configuration in words that can be broken over lines."""
    return name.replace("_", " ")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
