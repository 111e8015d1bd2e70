import json
import shutil
import signal

import numpy as np
import pytest
from tiny_runs import digits, tiny_config

from models.repository import Repository
from training import commands, runs
from training.config import to_dict, to_toml
from training.errors import ConfigError, RunError
from training.evaluation import EvaluationConfig
from training.schedules import value

QUICK = EvaluationConfig(num_samples=1, importance_samples=(2,))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 30 steps. Not to be written to."""
    root = tmp_path_factory.mktemp("commands")
    (root / "run.toml").write_text(to_toml(tiny_config()))
    folder, reached_its_end = commands.fit(root / "run.toml", [], root / "run", "cpu")
    assert reached_its_end
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the run, to be written to."""
    return shutil.copytree(finished, tmp_path / "run")


def test_without_a_folder_a_run_lies_below_runs_under_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = ["name=mine", "training.num_steps=1", "network.hidden=[3]"]
    folder, _ = commands.fit(None, overrides, None, "cpu")
    assert folder.resolve() == tmp_path / "runs" / "mine"
    assert runs.read_config(folder).name == "mine"


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="batch_size"):
        commands.fit(None, ["training.batch_size=100000"], tmp_path / "run", "cpu")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def of_an_array(tmp_path):
    """A run on a file of 40 rows of 6 bits, and the file."""
    file = tmp_path / "rows.npz"
    rows = np.random.default_rng(0).integers(0, 2, (40, 6), dtype=np.uint8)
    np.savez(file, train=rows, valid=rows[:8], test=rows[8:16])
    overrides = ["training.num_steps=3", "training.batch_size=10", "network.hidden=[3]", "data.name=array"]
    folder, _ = commands.fit(None, [*overrides, f"data.path={file}"], tmp_path / "run", "cpu")
    return folder, file, rows


def test_a_run_is_not_continued_measured_or_exported_on_other_rows_of_the_same_shape(of_an_array, tmp_path):
    folder, file, rows = of_an_array
    np.savez(file, train=1 - rows, valid=rows[:8], test=rows[8:16])
    attempts = [
        lambda: commands.resume(folder, "cpu"),
        lambda: commands.evaluate_run(folder, "test", QUICK, "cpu"),
        lambda: commands.export_run(folder, Repository(tmp_path / "models"), None, None),
    ]
    for attempt in attempts:
        with pytest.raises(RunError, match=r"begun on other data: the rows of train in .* start another run"):
            attempt()


def test_the_same_rows_in_another_file_are_the_same_data(of_an_array):
    folder, file, rows = of_an_array
    np.savez_compressed(file, test=rows[8:16], valid=rows[:8], train=rows)
    assert commands.resume(folder, "cpu") == (folder, True)


def test_a_damaged_record_of_the_data_is_named(of_an_array):
    folder, *_ = of_an_array
    (folder / "data.json").write_text("{")
    with pytest.raises(RunError, match=r"data\.json cannot be read"):
        commands.resume(folder, "cpu")


def test_training_leaves_the_signal_handlers_as_they_were(tmp_path):
    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    commands.fit(None, ["training.num_steps=1", "network.hidden=[3]"], tmp_path / "run", "cpu")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_evaluation_is_kept_beside_the_run_with_the_step_it_measured(run):
    evaluation = commands.evaluate_run(run, "test", QUICK, "cpu")
    kept = json.loads((run / "evaluation-test.json").read_text())
    assert kept["step"] == 30
    assert kept["metrics"] == [metric.model_dump(mode="json") for metric in evaluation.metrics]


def test_every_metric_says_what_it_was_measured_on(run):
    evaluation = commands.evaluate_run(run, "valid", QUICK, "cpu")
    names = {metric.name for metric in evaluation.metrics}
    assert {"negative_elbo", "iwae_2", "rate", "distortion", "bits_used_per_code", "code_perplexity"} <= names
    for metric in evaluation.metrics:
        assert metric.protocol.startswith(digits().protocol("valid"))
        assert (metric.split, metric.num_examples) == ("valid", len(digits().splits["valid"]))


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    """The run as a model, after an evaluation, and that evaluation."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("exported") / "run")
    evaluation = commands.evaluate_run(folder, "test", QUICK, "cpu")
    repository = Repository(folder.parent / "models")
    return commands.export_run(folder, repository, "other-name", "A description."), evaluation


def test_an_exported_model_tells_its_run(exported, finished):
    manifest = exported[0].manifest
    settings = runs.read_config(finished)
    assert (manifest.name, manifest.version, manifest.description) == ("other-name", 1, "A description.")
    assert (manifest.kind, manifest.num_latents, manifest.num_categories) == ("binary", 5, 2)
    assert manifest.input == digits().input
    # The one of the last step, counted from 0.
    assert manifest.relaxation_temperature == value(settings.relaxation_temperature, 29)
    assert manifest.estimator == settings.estimator.name
    assert manifest.training.num_steps == 30
    assert manifest.training.duration_seconds > 0
    assert manifest.training.data == digits().provenance
    assert manifest.training.config == to_dict(settings)
    assert manifest.training.device == "cpu, 1 thread"


def test_an_exported_model_says_how_its_codes_were_used_on_the_validation_split(exported):
    usage = exported[0].manifest.usage
    assert (usage.split, usage.num_examples) == ("valid", len(digits().evaluation_inputs("valid")))


def test_what_was_evaluated_at_this_checkpoint_is_exported(exported):
    model, evaluation = exported
    assert model.manifest.metrics == evaluation.metrics


def test_golden_vectors_are_spread_over_the_test_split(exported):
    rows = [row.tobytes() for row in digits().evaluation_inputs("test")]
    golden = exported[0].manifest.golden.inputs.array().reshape(-1, 64)
    positions = [rows.index(row.tobytes()) for row in golden]
    assert len(positions) == 4
    # In some data sets the rows of a class stand together, so the first rows alone would say little.
    assert max(positions) - min(positions) > len(rows) / 2


def test_what_was_measured_elsewhere_is_measured_again_before_it_is_exported(run, tmp_path):
    # Kept: the test split at an earlier checkpoint, and another split at this one.
    commands.evaluate_run(run, "valid", QUICK, "cpu")
    commands.evaluate_run(run, "test", QUICK, "cpu")
    kept = json.loads((run / "evaluation-test.json").read_text())
    (run / "evaluation-test.json").write_text(json.dumps({**kept, "step": 29}))
    model = commands.export_run(run, Repository(tmp_path / "models"), None, None)
    metrics = {metric.name: metric for metric in model.manifest.metrics}
    assert model.manifest.name == "tiny"
    assert "iwae_2" not in metrics
    assert metrics["negative_elbo"].split == "test"
    assert "5 discrete samples" in metrics["negative_elbo"].protocol


@pytest.mark.parametrize("content", ["", '{"step": 30, "metr', "[]", '{"step": 30}', '{"step": 30, "metrics": [{}]}'])
def test_a_damaged_evaluation_is_named(run, tmp_path, content):
    (run / "evaluation-test.json").write_text(content)
    with pytest.raises(RunError, match=r"evaluation-test\.json does not hold the metrics .*: run it again"):
        commands.export_run(run, Repository(tmp_path / "models"), None, None)
    assert Repository(tmp_path / "models").names() == []
