"""Every scalar of the log over the steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.report.charts import Series, line_chart
from training.report.html import Markup, element, section
from training.runlog import read_metrics

_SPLITS = ("train", "valid")
_FEW = 8


def curves(folder: Path) -> Markup:
    """A chart a scalar, splits of the same scalar together: what is minimised first, then its terms and schedules."""
    records = read_metrics(folder)
    charts: list[Markup] = []
    for name, keys in _grouped(records).items():
        series = [_series(records, key) for key in keys]
        charts.append(line_chart(name.replace("_", " "), series))
        if len(charts) == 1 and len(series[0].xs) >= _FEW:
            charts.append(line_chart(f"{name.replace('_', ' ')}, second half", [_second_half(each) for each in series]))
    if not charts:
        return section("Curves", element("p", "The log of this run is empty.", class_="quiet"))
    explained = (
        "Over training steps; in brackets the last value. Training scalars are means over the steps between two lines "
        "of the log, and a validation bound is taken from one discrete code a row."
    )
    return section("Curves", element("p", explained, class_="quiet"), element("div", charts, class_="charts"))


def _grouped(records: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Keys of the log by quantity, in the order of the log; what both splits have first, since it is the headline."""
    keys = dict.fromkeys(key for record in records for key in record if key != "step")
    groups: dict[str, list[str]] = {}
    for key in keys:
        split, slash, quantity = key.partition("/")
        groups.setdefault(quantity if slash and split in _SPLITS else key, []).append(key)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def _series(records: Sequence[dict[str, Any]], key: str) -> Series:
    points = [(record["step"], record[key]) for record in records if key in record]
    split, slash, _ = key.partition("/")
    label = {"train": "training", "valid": "validation"}.get(split, key) if slash else "value"
    return Series(label, [step for step, _ in points], [value for _, value in points])


def _second_half(series: Series) -> Series:
    middle = max(series.xs) / 2
    kept = [(x, y) for x, y in zip(series.xs, series.ys, strict=True) if x >= middle]
    return Series(series.label, [x for x, _ in kept], [y for _, y in kept])
