import csv
import json
import shutil
from xml.etree import ElementTree

import pytest
from tiny_runs import digits, tiny_config

from training import commands
from training.__main__ import main
from training.config import to_toml
from training.errors import EvaluationError, RunError
from training.evaluation import EvaluationConfig, read_record

QUICK = EvaluationConfig(num_samples=1, importance_samples=(2,))
BITS = {"kind": "binary", "num_latents": 3}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 30 steps with checkpoints of steps 6 and 30. Not to be written to."""
    root = tmp_path_factory.mktemp("commands")
    settings = tiny_config(BITS, checkpoint_every=100, keep_checkpoints=1, milestones=[6])
    (root / "run.toml").write_text(to_toml(settings))
    folder, reached_its_end = commands.fit(root / "run.toml", [], root / "run", "cpu")
    assert reached_its_end
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the run, to be written to."""
    return shutil.copytree(finished, tmp_path / "run")


def gradients(run, **options):
    defaults = {"checkpoints": [], "rows": 4, "num_draws": 40, "seed": 0, "device_name": "cpu"}
    return commands.gradient_report_run(run, "test", **{**defaults, **options})


def test_the_relaxed_loss_is_measured_at_the_temperature_that_training_ended_with(run):
    evaluation = commands.evaluate_run(run, "test", QUICK, "cpu")
    # exp(-0.01 29): that of the last step, counted from 0.
    assert "relaxation temperature 0.748264;" in evaluation["relaxed_loss"].protocol.replace(",", ";")


def test_a_record_holds_metrics_and_arrays_and_is_read_back(run):
    evaluation = commands.evaluate_run(run, "test", QUICK, "cpu")
    record = read_record(run / "evaluation-test.json")
    assert (record.step, record.metrics) == (30, evaluation.metrics)
    kept = json.loads((run / "evaluation-test.json").read_text())
    assert kept["latent_kl"] == evaluation.latent_kl.tolist()
    assert kept["code_frequencies"] == evaluation.usage.code_frequencies.tolist()
    assert sum(kept["margins"]["counts"]) == 3 * len(digits().splits["test"])
    assert len(kept["margins"]["inner_edges"]) == len(kept["margins"]["counts"]) - 1
    assert not list(run.glob("*.partial"))
    assert read_record(run / "evaluation-valid.json") is None


def test_a_report_uses_the_evaluation_of_this_checkpoint(run):
    commands.evaluate_run(run, "test", QUICK, "cpu")
    before = (run / "evaluation-test.json").read_bytes()
    path = commands.report_run(run, "test", "cpu")
    assert path == run / "report.html"
    assert "iwae_2" in path.read_text(encoding="utf-8")
    assert (run / "evaluation-test.json").read_bytes() == before


@pytest.mark.parametrize("stale", [False, True], ids=["none yet", "of another step"])
def test_a_report_measures_what_was_not_measured_at_this_checkpoint_and_keeps_it(run, stale, monkeypatch):
    monkeypatch.setattr(commands, "EvaluationConfig", lambda: QUICK)
    if stale:
        commands.evaluate_run(run, "test", QUICK, "cpu")
        kept = json.loads((run / "evaluation-test.json").read_text())
        (run / "evaluation-test.json").write_text(json.dumps({**kept, "step": 29}))
    page = commands.report_run(run, "test", "cpu").read_text(encoding="utf-8")
    record = read_record(run / "evaluation-test.json")
    assert record.step == 30
    cells = {cell.text for cell in ElementTree.fromstring(page.partition("\n")[2]).iter("td")}
    assert {metric.name for metric in record.metrics} < cells


def test_a_report_of_another_split_is_made_of_its_rows(run):
    commands.evaluate_run(run, "valid", QUICK, "cpu")
    page = commands.report_run(run, "valid", "cpu").read_text(encoding="utf-8")
    assert f"Measured at step 30 on {digits().protocol('valid')}." in page


def test_a_gradient_report_covers_every_checkpoint_and_what_was_before_training(run):
    report, path = gradients(run)
    assert path == run / "gradient-report.json"
    assert list(report.entropies) == [0, 6, 30]
    assert report.protocol.startswith(f"{digits().protocol('test')}, rows spread over the split, 4 rows, 40 draws")
    assert json.loads(path.read_text()) == json.loads(report.to_json())
    assert (run / "gradient-report.md").read_text() == report.table()
    with (run / "gradient-report.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(report.rows)
    assert ElementTree.parse(run / "gradient-report.svg").getroot().tag.endswith("svg")


def test_a_gradient_report_is_one_of_the_checkpoints_asked_for(run):
    report, _ = gradients(run, checkpoints=[30, 0], num_draws=20)
    assert [*dict.fromkeys(row.step for row in report.rows)] == [30, 0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"checkpoints": [7]}, RunError, "no checkpoint of step 7: expected steps among 0, 6, 30"),
        ({"rows": 0}, EvaluationError, "rows: expected 1 to 359, the rows of the test split, got 0"),
        ({"rows": 360}, EvaluationError, "rows: expected 1 to 359, .* got 360"),
        ({"num_draws": 30}, EvaluationError, "num_draws: expected a multiple of 20 .*got 30"),
    ],
)
def test_a_gradient_report_that_cannot_be_is_refused_and_nothing_is_written(run, options, error, message):
    with pytest.raises(error, match=message):
        gradients(run, **options)
    assert not list(run.glob("gradient-report*"))


def test_both_reports_say_on_the_command_line_where_they_are(run, capsys):
    commands.evaluate_run(run, "test", QUICK, "cpu")
    assert main(["report", str(run), "--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"written: {run / 'report.html'}\n"
    options = ["--rows", "3", "--num-draws", "20", "--checkpoints", "0", "--seed", "2", "--device", "cpu"]
    assert main(["gradient-report", str(run), *options]) == 0
    printed = capsys.readouterr().out
    assert "3 rows, 20 draws of each estimator, seed 2" in printed
    assert printed.endswith(f"written: {run / 'gradient-report.json'}, and .csv, .md and .svg beside it\n")


def test_summing_over_every_code_can_be_left_out(run, capsys):
    arguments = ["evaluate", str(run), "--num-samples", "1", "-m", "--device", "cpu"]
    assert main([*arguments, "--no-exact"]) == 0
    assert "exact_nll" not in capsys.readouterr().out
    assert main(arguments) == 0
    assert "exact_nll" in capsys.readouterr().out
