"""The gradient report as a figure: a line a contender, a colour a checkpoint, a column an error."""

from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from training.gradient_report import STATISTICS, GradientReport, GradientRow

_TITLES = {
    "squared_bias": "squared bias / |exact|²",
    "variance": "variance of a draw / |exact|²",
    "mean_squared_error": "mean squared error / |exact|²",
    "cosine": "cosine of mean and exact",
}
_LINEAR_BELOW = 1e-2


def plot(report: GradientReport, path: Path, *, term: str | None = None) -> None:
    """Draw the errors of one `term` (None: the report's first) into a file; its suffix says the format (png, svg, pdf).

    Bars are 95 % intervals. Squared bias is on a logarithmic scale that is linear between -0.01 and 0.01, since an
    estimate of none can be below 0.
    """
    term = term if term is not None else report.rows[0].term
    rows = [row for row in report.rows if row.term == term]
    labels = list(dict.fromkeys(row.label for row in rows))
    targets = list(dict.fromkeys(row.target for row in rows))
    height = 1.2 + 0.32 * len(labels) * len(targets) + 0.9 * len(targets)
    figure = Figure(figsize=(16, height), layout="constrained")
    panels = figure.subplots(len(targets), len(STATISTICS), squeeze=False, sharey=True)
    for target, line in zip(targets, panels, strict=True):
        of_target = [row for row in rows if row.target == target]
        for statistic, axes in zip(STATISTICS, line, strict=True):
            _draw(axes, of_target, labels, list(report.entropies), statistic)
        line[0].set_ylabel(f"{term} by {target}".replace("_", " "))
    panels[0, 0].set_yticks(range(len(labels)), labels)
    panels[0, 0].invert_yaxis()
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    figure.supxlabel(report.protocol, fontsize="small")
    figure.savefig(path)


def _draw(axes: Axes, rows: list[GradientRow], labels: list[str], steps: list[int], statistic: str) -> None:
    colours = colormaps["viridis"]
    for number, step in enumerate(steps):
        of_step = [row for row in rows if row.step == step]
        intervals = [getattr(row.errors, statistic) for row in of_step]
        # Checkpoints of one contender stand below each other within its line.
        offset = 0.5 * ((number + 0.5) / len(steps) - 0.5)
        axes.errorbar(
            x=[interval.value for interval in intervals],
            y=[labels.index(row.label) + offset for row in of_step],
            xerr=[(interval.high - interval.low) / 2 for interval in intervals],
            fmt="o",
            markersize=4,
            color=colours(0.85 * number / max(1, len(steps) - 1)),
            label=f"step {step:,}",
        )
    axes.set_title(_TITLES[statistic], fontsize="medium")
    axes.grid(visible=True, alpha=0.3)
    if statistic == "squared_bias":
        axes.set_xscale("symlog", linthresh=_LINEAR_BELOW)
        axes.axvline(0, color="black", linewidth=0.8)
    elif statistic == "cosine":
        axes.set_xlim(-1.05, 1.05)
        axes.axvline(0, color="black", linewidth=0.8)
    else:
        axes.set_xscale("log")
        # By default a range within one decade has labels that overlap.
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
