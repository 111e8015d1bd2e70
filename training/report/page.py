"""Puts the sections together."""

from collections.abc import Sequence

import torch

from models.manifest import Metric
from training.data import SplitName
from training.report import bounds, curves, gallery, overview, traversals, usage
from training.report.html import Markup, anchor, element, joined
from training.report.style import STYLE
from training.runs import TrainedRun

TITLES = (
    "Evaluation",
    "Curves",
    "Reconstructions",
    "Samples from the prior",
    "Traversals",
    "Code usage",
    "How firm codes are",
    "Data",
    "Configuration",
)
_ROWS_OF_EFFECTS = 96


def report_page(run: TrainedRun, metrics: Sequence[Metric], *, split: SplitName = "test", seed: int = 0) -> str:
    """The page as a document: nothing it needs lies outside of it. The same run and metrics give the same page.

    `metrics` are those of the run's checkpoint on `split`, from whose rows the pictures are made.
    """
    model, spec = run.model, run.dataset.input
    inputs = torch.from_numpy(run.dataset.evaluation_inputs(split)).to(model.encoder.mean)
    generator = torch.Generator(model.device).manual_seed(seed)
    # In some data sets the rows of a class stand together.
    spread = inputs[torch.linspace(0, len(inputs) - 1, min(len(inputs), _ROWS_OF_EFFECTS)).round().long()]
    shown = spread[torch.linspace(0, len(spread) - 1, min(len(spread), gallery.NUM_INPUTS)).round().long()]
    measured = usage.measure_usage(model, inputs, generator)
    sections = (
        bounds.evaluation(metrics, run.step),
        curves.curves(run.folder),
        gallery.reconstructions(model, shown, spec, generator),
        gallery.prior_samples(model, spec, generator),
        traversals.traversals(model, spread, spec, measured.latent_kl),
        usage.code_usage(measured, model.latent.kind),
        usage.firmness(measured),
        overview.data(run),
        overview.settings(run),
    )
    links = element("nav", [element("a", title, href=f"#{anchor(title)}") for title in TITLES])
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{run.config.name}: run report"),
        element("style", Markup(STYLE)),
    )
    top = element("header", overview.title(run), overview.facts(run, metrics), links)
    body = element("body", top, element("main", *sections))
    return "<!DOCTYPE html>\n" + joined(element("html", head, body, lang="en")) + "\n"
