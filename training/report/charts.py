"""Lines, bars and intervals as SVG that takes its colours from the page."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from training.report.html import Markup, element
from training.report.style import SERIES_COLOURS

_WIDTH, _HEIGHT = 480.0, 230.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 24.0, 10.0, 26.0
_MOST_POINTS = 600


class Series(NamedTuple):
    """A line: its name, and points by ascending x."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]


class Interval(NamedTuple):
    """A value with its standard error, if there is one."""

    label: str
    value: float
    standard_error: float | None


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within [low, high], about `count` of them, 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.7 * rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def line_chart(title: str, series: Sequence[Series], *, caption: str = "") -> Markup:
    """Lines over steps. Values that are not finite are left out; of long lines every k-th point is drawn."""
    drawn = [_finite(each) for each in series]
    drawn = [each for each in drawn if len(each.xs)]
    if not drawn:
        return element("figure", element("h3", title), element("p", "No finite value.", class_="quiet"), class_="chart")
    x = _Axis.over([value for each in drawn for value in each.xs], _LEFT, _WIDTH - _RIGHT)
    y = _Axis.over([value for each in drawn for value in each.ys], _HEIGHT - _BOTTOM, _TOP, padded=True)
    lines = [
        element(
            "polyline",
            points=" ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(each.xs, each.ys, strict=True)),
            class_="line",
            style=f"stroke:{_colour(number)}",
        )
        if len(each.xs) > 1
        else element("circle", cx=x(each.xs[0]), cy=y(each.ys[0]), r=3, style=f"fill:{_colour(number)}")
        for number, each in enumerate(drawn)
    ]
    legend = element(
        "div",
        [
            element("span", element("i", style=f"background:{_colour(number)}"), f"{each.label} ({each.ys[-1]:.4g})")
            for number, each in enumerate(drawn)
        ],
        class_="legend",
    )
    drawing = _drawing(_y_grid(y), _x_labels(x), lines, height=_HEIGHT, label=title)
    note = element("figcaption", caption) if caption else Markup("")
    return element("figure", element("h3", title), drawing, legend, note, class_="chart")


def bar_chart(
    title: str, values: Sequence[float], names: Sequence[str], *, caption: str = "", labels: bool = False
) -> Markup:
    """A bar a value, from 0; each names itself when pointed at, and with `labels` below the axis too."""
    y = _Axis.over([0.0, *values], _HEIGHT - _BOTTOM, _TOP, padded=False)
    width = (_WIDTH - _LEFT - _RIGHT) / max(1, len(values))
    bars = [
        element(
            "rect",
            element("title", f"{name}: {value:.4g}"),
            x=_LEFT + number * width + width * 0.08,
            y=y(value),
            width=width * 0.84,
            height=max(0.0, y(0.0) - y(value)),
            style="fill:var(--s0)",
        )
        for number, (value, name) in enumerate(zip(values, names, strict=True))
    ]
    every = max(1, math.ceil(len(names) / 9))
    written = [
        element("text", name, x=_LEFT + (number + 0.5) * width, y=_HEIGHT - 8, text_anchor="middle")
        for number, name in enumerate(names)
        if labels and number % every == 0
    ]
    drawing = _drawing(_y_grid(y), bars, written, height=_HEIGHT, label=title)
    return element("figure", element("h3", title), drawing, element("figcaption", caption), class_="chart")


def interval_chart(title: str, intervals: Sequence[Interval], *, caption: str = "") -> Markup:
    """A line a value, with two standard errors to either side."""
    row, left, right = 26.0, 190.0, 78.0
    ends = [each.value + sign * 2 * (each.standard_error or 0.0) for each in intervals for sign in (-1, 1)]
    height = _TOP + row * len(intervals) + _BOTTOM
    x = _Axis.over(ends, left, _WIDTH - right, padded=True)
    marks: list[Markup] = []
    for number, each in enumerate(intervals):
        middle = _TOP + row * (number + 0.5)
        error = 2 * (each.standard_error or 0.0)
        marks += [
            element("text", each.label, x=0, y=middle + 4, class_="strong"),
            element("line", x1=left, x2=_WIDTH - right, y1=middle, y2=middle, class_="grid"),
            element(
                "line",
                x1=x(each.value - error),
                x2=x(each.value + error),
                y1=middle,
                y2=middle,
                style="stroke:var(--s0);stroke-width:3",
            ),
            element("circle", cx=x(each.value), cy=middle, r=4, style="fill:var(--s0)"),
            element("text", f"{each.value:.2f}", x=_WIDTH, y=middle + 4, text_anchor="end", class_="strong"),
        ]
    drawing = _drawing(marks, _x_labels(x, height=height, count=4), height=height, label=title)
    return element("figure", element("h3", title), drawing, element("figcaption", caption), class_="chart")


class _Axis(NamedTuple):
    """A linear map from values in [low, high] to positions from start to end."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, *, padded: bool = False) -> "_Axis":
        low, high = float(min(values)), float(max(values))
        if low == high:
            # A constant is drawn in the middle.
            margin = abs(low) * 0.1 or 1.0
            low, high = low - margin, high + margin
        elif padded:
            margin = 0.04 * (high - low)
            low, high = low - margin, high + margin
        return cls(low, high, start, end)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _colour(number: int) -> str:
    return SERIES_COLOURS[number % len(SERIES_COLOURS)]


def _drawing(*content: object, height: float, label: str) -> Markup:
    return element("svg", *content, viewBox=f"0 0 {_WIDTH:g} {height:g}", role="img", aria_label=label)


def _y_grid(y: _Axis) -> list[Markup]:
    marks = []
    for value in ticks(y.low, y.high):
        marks += [
            element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(value), y2=y(value), class_="grid"),
            element("text", f"{value:,.6g}", x=_LEFT - 6, y=y(value) + 4, text_anchor="end"),
        ]
    return marks


def _x_labels(x: _Axis, *, height: float = _HEIGHT, count: int = 4) -> list[Markup]:
    return [
        element("text", f"{value:,.6g}", x=x(value), y=height - 8, text_anchor="middle")
        for value in ticks(x.low, x.high, count)
    ]


def _finite(series: Series) -> Series:
    xs, ys = np.asarray(series.xs, dtype=np.float64), np.asarray(series.ys, dtype=np.float64)
    there = np.flatnonzero(np.isfinite(ys))
    if len(there) > _MOST_POINTS:
        there = there[np.unique(np.linspace(0, len(there) - 1, _MOST_POINTS).round().astype(int))]
    return Series(series.label, xs[there].tolist(), ys[there].tolist())
