"""The figures of the documents are what the code that they are about computes."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "figures"
sys.path.append(str(FOLDER))

from draw import FIGURES  # noqa: E402 - a script of the documents, not of a package
from panels import Figure, Panel, Series, data_of  # noqa: E402


@pytest.mark.parametrize("compute", FIGURES, ids=lambda compute: compute.__name__)
def test_the_committed_figure_holds_the_numbers_that_the_code_gives(compute) -> None:
    figure = compute()
    committed, computed = data_of(FOLDER / f"{figure.name}.svg"), figure.data()
    assert [panel["title"] for panel in committed] == [panel["title"] for panel in computed]
    for old, new in zip(committed, computed, strict=True):
        assert [series["label"] for series in old["series"]] == [series["label"] for series in new["series"]]
        for old_series, new_series in zip(old["series"], new["series"], strict=True):
            for axis in ("xs", "ys"):
                np.testing.assert_allclose(old_series[axis], new_series[axis], rtol=1e-3, atol=1e-6)


def test_the_command_draws_every_committed_figure(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, FOLDER / "draw.py", "--folder", tmp_path],
        cwd=DOCS.parent,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.returncode == 0, finished.stderr
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in FOLDER.glob("*.svg")}
    for path in tmp_path.iterdir():
        assert data_of(path)


def test_every_figure_is_shown_and_says_in_words_what_is_to_be_seen() -> None:
    shown = {
        name: words
        for page in DOCS.rglob("*.md")
        for words, name in re.findall(r"!\[(.*?)\]\(figures/([\w-]+\.svg)\)", page.read_text(encoding="utf-8"))
    }
    assert set(shown) == {path.name for path in FOLDER.glob("*.svg")}
    assert all(len(words.split()) > 5 for words in shown.values())


def test_a_figure_that_was_drawn_from_other_numbers_is_told_apart(tmp_path: Path) -> None:
    # The oracle of the first test: the numbers in a file are those that it was drawn from.
    figure = Figure("line", [Panel("a line", [Series([0.0, 1.0], [0.123456789, 2.0], "y")])])
    (panel,) = data_of(figure.draw(tmp_path))
    assert panel == {"title": "a line", "series": [{"label": "y", "xs": [0.0, 1.0], "ys": [0.12346, 2.0]}]}


def test_what_the_page_says_of_the_quadratic_cost_is_so() -> None:
    (figure,) = [figure for compute in FIGURES if (figure := compute()).name == "straight-through-bias"]
    linear, quadratic, _ = figure.panels
    exact, straight_through, reinmax = (np.array(series.ys) for series in quadratic.series[:3])
    assert (exact > 0).all()
    assert (straight_through < 0).any()
    np.testing.assert_allclose(reinmax, exact, atol=1e-9)
    np.testing.assert_allclose(linear.series[1].ys, linear.series[0].ys, atol=1e-9)
