"""The page as a whole, for every kind of run: complete, well-formed, and in need of nothing but itself."""

from xml.etree import ElementTree

import numpy as np
import pytest
from tiny_runs import BITS, CATEGORIES, CPU, digits, tiny_config, train

from models.manifest import Metric
from training import runs
from training.config import parse, to_toml
from training.data import load
from training.report import report_page
from training.report.page import TITLES
from training.runlog import read_metrics

METRICS = [
    Metric(name=name, value=value, split="test", num_examples=5, protocol=f"digits test; {how}", standard_error=0.5)
    for name, value, how in (
        ("relaxed_loss", 20.5, "relaxed codes"),
        ("negative_elbo", 23.25, "20 discrete samples a row"),
        ("iwae_50", 21.75, "m = 50"),
        ("iwae_1000", 21.125, "m = 1000"),
        ("rate_bits", 7.5, '<closed> & "exact"'),
    )
]


def trained(folder, settings, dataset=None):
    runs.create(folder, settings)
    train(settings, folder, dataset=dataset)
    return runs.open_run(folder, device=CPU)


def elements(page):
    assert page.startswith("<!DOCTYPE html>\n")
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def text(element):
    return " ".join("".join(element.itertext()).split())


def sections(page):
    return {each.get("id"): each for each in elements(page).iter("section")}


@pytest.fixture(scope="module", params=[BITS, CATEGORIES], ids=["binary", "categorical"])
def run(request, tmp_path_factory):
    """A run of 30 steps. Not to be written to."""
    return trained(tmp_path_factory.mktemp("report") / "run", tiny_config(request.param))


@pytest.fixture(scope="module")
def page(run):
    return report_page(run, METRICS)


def test_every_section_is_there_and_linked(page):
    headings = [heading.text for heading in elements(page).iter("h2")]
    assert headings == list(TITLES)
    links = [link.get("href") for link in elements(page).iter("a")]
    assert links == [f"#{name}" for name in sections(page)]


def test_nothing_is_fetched_and_nothing_runs(page):
    names, fetched = set(), []
    for each in elements(page).iter():
        names.add(each.tag)
        for attribute, value in each.attrib.items():
            assert not attribute.startswith("on")
            assert "url(" not in value
            if attribute in ("src", "href", "srcset", "data", "action"):
                fetched.append(value)
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in fetched)
    assert any(value.startswith("data:") for value in fetched)
    style = elements(page).find("head/style").text
    assert "url(" not in style
    assert "@import" not in style


def test_light_dark_and_narrow_screens_are_provided_for(page):
    assert "prefers-color-scheme: dark" in page
    assert [each.get("content") for each in elements(page).iter("meta") if each.get("name") == "viewport"] == [
        "width=device-width, initial-scale=1"
    ]


def test_the_configuration_on_the_page_can_be_run_again(run, page):
    (written,) = (each.text for each in sections(page)["configuration"].iter("pre"))
    assert written == to_toml(run.config)


def test_every_metric_stands_beside_its_protocol_and_the_shared_part_is_said_once(page):
    evaluation = sections(page)["evaluation"]
    rows = [[text(cell) for cell in row] for row in evaluation.iter("tr")][1:]
    assert [row[0] for row in rows] == [metric.name for metric in METRICS]
    assert [row[1] for row in rows] == ["20.5000", "23.2500", "21.7500", "21.1250", "7.5000"]
    assert rows[-1][4] == '<closed> & "exact"'
    assert "Measured at step 30 on digits test." in text(evaluation)
    assert text(evaluation).count("digits test") == 1


def test_every_scalar_of_the_log_has_a_line_that_ends_at_its_last_value(run, page):
    logged = {}
    for record in read_metrics(run.folder):
        logged.update(record)
    charts = [text(figure) for figure in sections(page)["curves"].iter("figure")]
    assert len(logged) >= 7
    for key, value in logged.items():
        if key != "step":
            quantity = key.split("/")[-1].replace("_", " ")
            assert any(chart.startswith(quantity) and f"({value:.4g})" in chart for chart in charts), key


def test_the_same_run_gives_the_same_page_and_another_seed_other_samples(run, page):
    assert report_page(run, METRICS) == page
    other = report_page(run, METRICS, seed=1)
    before, after = (
        {name: ElementTree.tostring(each) for name, each in sections(written).items()} for written in (page, other)
    )
    assert [name for name in before if before[name] != after[name]] == ["reconstructions", "samples-from-the-prior"]


def test_names_and_descriptions_are_text_and_never_markup(tmp_path):
    description = '<script>alert(1)</script> & "more"'
    settings = parse({"name": "tiny", "description": description, "training": {"num_steps": 1}})
    written = report_page(trained(tmp_path / "run", settings), METRICS)
    assert "<script>" not in written
    assert elements(written).find("body/header/p").text == description


CASES = {
    "autoregressive prior": {"prior": {"name": "autoregressive", "hidden": [8]}},
    "factorised prior": {"prior": {"name": "factorised"}},
    "kumaraswamy": {"relaxation": {"name": "kumaraswamy"}},
    "hard concrete": {"relaxation": {"name": "hard_concrete"}},
    "gaussian": {"likelihood": {"name": "gaussian"}},
    "grey cross-entropy": {"likelihood": {"name": "grey_cross_entropy"}},
    "soft codes, relaxed densities": {"estimator": {"name": "pathwise"}, "objective": {"kl": "relaxed"}},
    "importance-weighted": {"objective": {"num_importance_samples": 3}},
}


@pytest.mark.parametrize("table", CASES.values(), ids=CASES)
def test_every_kind_of_run_has_its_page(tmp_path, table):
    loop = {"num_steps": 4, "log_every": 1}
    settings = parse({"latent": BITS, "network": {"hidden": [6]}, "training": loop, **table})
    page = report_page(trained(tmp_path / "run", settings, load(settings.data)), METRICS)
    assert len(sections(page)) == len(TITLES)


@pytest.mark.parametrize("shape", [(7,), (300,), (5, 6), (5, 6, 3), (130, 40)], ids=str)
def test_rows_of_any_shape_are_drawn(tmp_path, shape):
    rows = np.random.default_rng(0).integers(0, 256, (60, *shape)).astype(np.uint8)
    np.save(tmp_path / "rows.npy", rows)
    settings = parse(
        {
            "data": {"name": "array", "path": str(tmp_path / "rows.npy")},
            "latent": CATEGORIES,
            "network": {"hidden": [4]},
            "training": {"num_steps": 2, "batch_size": 8},
        }
    )
    page = report_page(trained(tmp_path / "run", settings, load(settings.data)), METRICS)
    pictures = sections(page)["reconstructions"]
    drawn = list(pictures.iter("img" if len(shape) > 1 else "svg"))
    # 6 test rows, and 5 strips of them.
    assert len(drawn) == 30


def test_a_run_without_a_line_in_its_log_says_so(tmp_path):
    run = trained(tmp_path / "run", tiny_config(num_steps=1))
    (run.folder / "metrics.jsonl").write_text("")
    assert "The log of this run is empty." in text(sections(report_page(run, METRICS))["curves"])


def test_a_page_of_images_is_small(page):
    assert len(page) < 1_000_000
    assert digits().input.shape == (8, 8)
