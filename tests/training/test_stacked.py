import dataclasses
import shutil
import threading

import numpy as np
import pytest
import torch
from tiny_runs import BITS, CATEGORIES, CPU, MLP, assert_identical, digits, newest, tiny_config, train

from models.repository import Repository
from training import checkpoint, commands, config, runs, sweep
from training.errors import NotStackable
from training.estimators import fitting_estimators
from training.exported import ExportedModel
from training.runlog import read_metrics
from training.runs import build_model
from training.stacked import StackedProgram
from training.step import StepProgram, batches_of

RATES = (1e-3, 1e-2)
SEEDS = (3, 4, 5)


def grid(latent=BITS, network=MLP, *, seeds=SEEDS, rates=RATES, sections=None, optimizer=None, **training):
    table = config.to_dict(tiny_config(latent, network, optimizer=optimizer, **training))
    table |= {"sweep": {"seeds": list(seeds), "learning_rates": list(rates)}, **(sections or {})}
    return sweep.members(config.parse(table))


def alone(run, num_steps):
    program = StepProgram(run, build_model(run, digits()), batches_of(run, digits(), device=CPU))
    for step in range(num_steps):
        program.prepare(step)
        program()
    return program


def together(configs, num_steps):
    program = StackedProgram(configs, digits(), device=CPU)
    for step in range(num_steps):
        program.prepare(step)
        program()
    return program


def assert_each_is_as_alone(configs, num_steps, *, rtol=2e-4, atol=2e-5):
    stacked = together(configs, num_steps)
    for run, member in zip(configs, stacked.members, strict=True):
        single = alone(run, num_steps)
        assert torch.equal(member.generator.get_state(), single.generator.get_state()), "other noise was drawn"
        torch.testing.assert_close(member.window, single.window, rtol=max(1e-5, rtol / 20), atol=1e-6)
        weights = member.weights()
        for name, expected in single.weights().items():
            torch.testing.assert_close(weights[name], expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("optimizer", ["adam", "radam", "sgd"])
@pytest.mark.parametrize("latent", [BITS, CATEGORIES], ids=["binary", "categorical"])
def test_each_of_many_runs_is_what_it_would_be_alone_across_epochs(latent, optimizer):
    assert_each_is_as_alone(grid(latent, optimizer={"name": optimizer}), 25)


@pytest.mark.parametrize(
    ("latent", "estimator"),
    [
        pytest.param(latent, estimator.name, id=f"{estimator.name}-{latent['kind']}")
        for latent in (BITS, CATEGORIES)
        for estimator in fitting_estimators(tiny_config(latent).latent)
    ],
)
def test_every_estimator_can_be_computed_for_many_runs(latent, estimator):
    sections = {"estimator": {"name": estimator}, "relaxation_temperature": 1.0}
    assert_each_is_as_alone(grid(latent, seeds=(1, 2), rates=(1e-3,), sections=sections), 3)


@pytest.mark.parametrize(
    "sections",
    [
        {"prior": {"name": "factorised"}},
        {"prior": {"name": "autoregressive", "hidden": [8]}},
        {"objective": {"num_importance_samples": 3}},
        {"objective": {"num_importance_samples": 3}, "estimator": {"name": "reinforce_leave_one_out"}},
        {"objective": {"input_dropout": 0.3}},
        {"objective": {"kl": "relaxed"}, "estimator": {"name": "pathwise"}},
        {"relaxation": {"name": "kumaraswamy"}},
        {"relaxation": {"name": "logistic_normal"}},
        {"likelihood": {"name": "gaussian"}},
        {"data": {"placement": "resident", "binarization": "threshold"}},
    ],
    ids=str,
)
def test_every_part_of_a_model_can_be_computed_for_many_runs(sections):
    assert_each_is_as_alone(grid(seeds=(1, 2), rates=(1e-3,), sections=sections), 3)


def test_convolutions_can_be_computed_for_many_runs():
    network = {"kind": "conv", "channels": [3, 4], "hidden": 8}
    assert_each_is_as_alone(grid(network=network, seeds=(1, 2), rates=(1e-3,)), 3)


def test_layers_in_bfloat16_can_be_computed_for_many_runs():
    configs = grid(seeds=(1, 2), rates=(1e-3,), precision="bfloat16")
    assert_each_is_as_alone(configs, 3, rtol=0.1, atol=5e-3)


def test_streamed_rows_are_refused():
    configs = grid(sections={"data": {"placement": "streamed"}})
    with pytest.raises(NotStackable, match="on rows that lie on the device, and these are streamed"):
        StackedProgram(configs, digits(), device=CPU)


class TestTrainingTogether:
    def folders(self, configs, path):
        return sweep.create(path, configs)

    def run(self, configs, path, *, stop=None):
        stop = stop or Never()
        return sweep.train_together(configs, self.folders(configs, path), digits(), device=CPU, stop=stop)

    def test_every_run_has_the_files_it_would_have_alone(self, tmp_path):
        configs = grid(seeds=(3, 4), rates=RATES, num_threads=1)
        assert self.run(configs, tmp_path / "together")
        folders = sweep.create(tmp_path / "alone", configs)
        assert sweep.train_in_turn(configs, folders, digits(), device=CPU, stop=Never())
        for run in configs:
            one, other = tmp_path / "together" / run.name, tmp_path / "alone" / run.name
            for mine, theirs in zip(read_metrics(one), read_metrics(other), strict=True):
                assert mine.keys() == theirs.keys()
                assert mine == pytest.approx(theirs, rel=2e-4)
            mine, theirs = newest(one), newest(other)
            assert mine.step == theirs.step == 30
            assert torch.equal(mine.generator, theirs.generator)
            assert mine.optimizer["state"].keys() == theirs.optimizer["state"].keys()
            for number, entries in theirs.optimizer["state"].items():
                for name, expected in entries.items():
                    got = mine.optimizer["state"][number][name]
                    torch.testing.assert_close(got, expected, rtol=1e-2, atol=1e-3)
            # No slice drags the weights of the other runs into the file.
            sizes = [next((folder / "checkpoints").glob("step-000000030.pt")).stat().st_size for folder in (one, other)]
            assert sizes[0] == pytest.approx(sizes[1], rel=0.02)

    def test_interrupted_runs_continue_to_the_numbers_they_would_have_reached(self, tmp_path):
        configs = grid(seeds=(3, 4), rates=RATES, num_threads=1)
        assert self.run(configs, tmp_path / "whole")
        assert not self.run(configs, tmp_path / "pieces", stop=After(11))
        assert not self.run(configs, tmp_path / "pieces", stop=After(2))
        assert self.run(configs, tmp_path / "pieces")
        for run in configs:
            assert read_metrics(tmp_path / "whole" / run.name) == read_metrics(tmp_path / "pieces" / run.name)
            for name, expected in newest(tmp_path / "whole" / run.name).model.items():
                assert torch.equal(newest(tmp_path / "pieces" / run.name).model[name], expected)

    def test_a_run_that_diverges_leaves_the_others_alone(self, tmp_path, caplog):
        configs = grid(seeds=(3,), rates=(1e-3, 1e30), num_threads=1)
        assert self.run(configs, tmp_path)
        good, bad = (tmp_path / run.name for run in configs)
        assert f"{bad}: " in caplog.text
        assert "stopped being finite" in caplog.text
        assert newest(good).step == 30
        lonely = grid(seeds=(3,), rates=(1e-3,), num_threads=1)
        assert self.run(lonely, tmp_path / "lonely")
        torch.testing.assert_close(
            newest(good).model["decoder.bias"], newest(tmp_path / "lonely" / lonely[0].name).model["decoder.bias"]
        )

    def test_runs_that_start_from_another_begin_with_its_weights_and_need_nothing_of_it_from_then_on(self, tmp_path):
        runs.create(tmp_path / "first", tiny_config())
        train(tiny_config(), tmp_path / "first")
        weights = newest(tmp_path / "first").model
        configs = grid(seeds=(3, 4), rates=RATES, num_threads=1, start_from=str(tmp_path / "first"))
        assert self.run(configs, tmp_path / "whole")
        folders = sweep.create(tmp_path / "alone", configs)
        assert sweep.train_in_turn(configs, folders, digits(), device=CPU, stop=Never())
        assert not self.run(configs, tmp_path / "pieces", stop=After(4))
        shutil.rmtree(tmp_path / "first")
        assert self.run(configs, tmp_path / "pieces")
        for run in configs:
            whole, alone, pieces = (tmp_path / name / run.name for name in ("whole", "alone", "pieces"))
            first, *_ = checkpoint.checkpoints(whole)
            assert checkpoint.step_of(first) == 0
            assert_identical(dict(checkpoint.load(first, device=CPU).model), dict(weights))
            assert read_metrics(whole) == read_metrics(pieces)
            for mine, theirs in zip(read_metrics(whole), read_metrics(alone), strict=True):
                assert mine == pytest.approx(theirs, rel=2e-4)

    def test_a_run_can_be_reported_on_and_exported_like_one_that_was_trained_alone(self, tmp_path):
        configs = grid(seeds=(3, 4), rates=(1e-3,), num_threads=1)
        assert self.run(configs, tmp_path / "runs")
        repository = Repository(tmp_path / "models")
        for run in configs:
            folder = tmp_path / "runs" / run.name
            stored = commands.export_run(folder, repository, None, None)
            manifest = stored.manifest
            assert manifest.name == run.name
            assert manifest.training.config == config.to_dict(run)
            page = commands.report_run(folder, "test", "cpu").read_text()
            assert run.name in page
            # Each export holds the weights of its own run: what it makes of rows is what the checkpoint makes of them.
            model = build_model(run, digits())
            model.load_state_dict(newest(folder).model)
            rows = digits().evaluation_inputs("test")[:16]
            with torch.no_grad():
                expected = model.encoder(torch.from_numpy(rows)).numpy()
            np.testing.assert_allclose(ExportedModel(stored.graphs).encode(rows).logits, expected, atol=1e-4)


class Never(threading.Event):
    def is_set(self):
        return False


class After(threading.Event):
    """Set once it was asked that often."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def is_set(self):
        self.times -= 1
        return self.times <= 0


def test_a_member_of_a_grid_differs_in_seed_and_learning_rate_alone():
    configs = grid()
    first = configs[0]
    for run in configs[1:]:
        same = dataclasses.replace(
            run,
            name=first.name,
            optimizer=first.optimizer,
            training=dataclasses.replace(run.training, seed=first.training.seed),
        )
        assert same == first
