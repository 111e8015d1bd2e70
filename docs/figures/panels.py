"""Figures as data, and their drawing into SVG. The numbers that were drawn stand in the file's metadata."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

# Okabe and Ito 2008: told apart by those who see no red or no green. Black is for the truth.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000")
TRUTH = 5
_SIGNIFICANT_DIGITS = 5
_STYLE = {"svg.hashsalt": "latent-codes", "svg.fonttype": "none", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3}
_METADATA = "{http://purl.org/dc/elements/1.1/}description"


class Series(NamedTuple):
    """A line, or points; `style` as matplotlib writes it."""

    xs: Sequence[float]
    ys: Sequence[float]
    label: str = ""
    colour: int = 0
    style: str = "-"


class Panel(NamedTuple):
    """One pair of axes."""

    title: str
    series: Sequence[Series]
    x_label: str = ""
    y_label: str = ""
    x_scale: str = "linear"
    y_limits: tuple[float, float] | None = None
    is_plane: bool = False
    """Whether both axes have one scale and no ticks, as where a triangle is drawn."""


class Figure(NamedTuple):
    """Panels side by side, and the name of the file they are drawn into."""

    name: str
    panels: Sequence[Panel]

    def data(self) -> list[dict[str, Any]]:
        """What is drawn, as JSON holds it."""
        return [
            {
                "title": panel.title,
                "series": [
                    {"label": each.label, "xs": _rounded(each.xs), "ys": _rounded(each.ys)} for each in panel.series
                ],
            }
            for panel in self.panels
        ]

    def draw(self, folder: Path) -> Path:
        """Write `name`.svg into the folder. The same numbers give the same bytes with one version of matplotlib."""
        path = folder / f"{self.name}.svg"
        with mpl.rc_context(_STYLE):
            is_plane = self.panels[0].is_plane
            canvas = Canvas(figsize=(9.5, 2.6 if is_plane else 3.3), layout="constrained")
            every = canvas.subplots(1, len(self.panels), squeeze=False)[0]
            for panel, axes in zip(self.panels, every, strict=True):
                _draw(panel, axes)
            canvas.savefig(path, metadata={"Date": None, "Description": json.dumps(self.data())})
        return path


def data_of(path: Path) -> list[dict[str, Any]]:
    """The numbers that a figure was drawn from."""
    (description,) = ET.parse(path).getroot().iter(_METADATA)  # noqa: S314 - a file of this repository
    data: list[dict[str, Any]] = json.loads(description.text or "")
    return data


def _draw(panel: Panel, axes: Axes) -> None:
    for each in panel.series:
        axes.plot(each.xs, each.ys, each.style, color=COLOURS[each.colour], label=each.label or None, markersize=5)
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label, xscale=panel.x_scale)
    axes.title.set_fontsize("medium")
    if panel.y_limits is not None:
        axes.set_ylim(*panel.y_limits)
    if panel.is_plane:
        axes.set_aspect("equal")
        axes.set_axis_off()
    if any(each.label for each in panel.series):
        axes.legend(fontsize="small", frameon=False)


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.{_SIGNIFICANT_DIGITS}g}") for value in values]
