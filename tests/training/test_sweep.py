import json
import math
import re
import threading
from pathlib import Path

import pytest
from tiny_runs import CPU, digits, newest, tiny_config

from training import checkpoint, commands, config, runs, sweep, sweep_table
from training.__main__ import main
from training.errors import ConfigError, RunError
from training.evaluation import EvaluationConfig
from training.runlog import read_metrics
from training.schedules import ConstantSchedule
from training.sweep_table import Outcome, summaries, table


def swept(*, seeds=(), learning_rates=(), **training):
    return config.parse(
        {
            **config.to_dict(tiny_config(**training)),
            "sweep": {"seeds": list(seeds), "learning_rates": list(learning_rates)},
        }
    )


def test_every_seed_meets_every_learning_rate_and_gets_a_name_of_its_own():
    configs = sweep.members(swept(seeds=[7, 8], learning_rates=[1e-3, 3e-4]))
    assert [
        (run.name, run.training.seed, run.optimizer.learning_rate, run.training.num_threads) for run in configs
    ] == [
        ("tiny-seed-7-lr-0.001", 7, ConstantSchedule(value=1e-3), 1),
        ("tiny-seed-8-lr-0.001", 8, ConstantSchedule(value=1e-3), 1),
        ("tiny-seed-7-lr-0.0003", 7, ConstantSchedule(value=3e-4), 1),
        ("tiny-seed-8-lr-0.0003", 8, ConstantSchedule(value=3e-4), 1),
    ]
    for run in configs:
        assert config.parse(config.to_dict(run)) == run, "each can be saved and read like any other"


def test_what_is_not_swept_over_stays_as_configured():
    (run,) = sweep.members(swept(learning_rates=[1e-5], seed=4, num_threads=2))
    assert (run.training.seed, run.training.num_threads) == (4, 2)
    base = swept(seeds=[1])
    (run,) = sweep.members(base)
    assert run.optimizer == base.optimizer
    assert run.name == "tiny-seed-1"


def test_a_configuration_without_a_grid_is_refused_with_an_example():
    with pytest.raises(ConfigError, match=r"sweep: expected seeds or learning_rates, for example .*sweep\.seeds"):
        sweep.members(tiny_config())


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"seeds": [1, 1]}, r"sweep: seeds: expected each once, got \[1, 1\]"),
        ({"seeds": [-1]}, r"sweep: seeds: expected 0 to \d+ each, got \[-1\]"),
        ({"learning_rates": [0.0]}, r"sweep: learning_rates: expected finite numbers above 0, got \[0\.0\]"),
        ({"learning_rates": [math.inf]}, r"learning_rates: expected finite numbers above 0"),
        ({"learning_rate": [1e-3]}, r"unknown key sweep\.learning_rate.*learning_rates"),
    ],
)
def test_a_grid_that_is_none_is_refused(grid, message):
    with pytest.raises(ConfigError, match=message):
        config.parse({"sweep": grid})


def test_fit_refuses_a_grid_and_names_sweep(tmp_path, capsys):
    assert main(["fit", "--set", "sweep.seeds=[0, 1]", "--run", str(tmp_path / "run")]) == 1
    assert "`fit` trains one run, `sweep` trains a grid of them" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_another_sweep_is_refused(tmp_path):
    sweep.create(tmp_path, sweep.members(swept(seeds=[1])))
    sweep.create(tmp_path, sweep.members(swept(seeds=[1, 2])))
    with pytest.raises(RunError, match="tiny-seed-1 holds a run of another configuration"):
        sweep.create(tmp_path, sweep.members(swept(seeds=[1], num_steps=31)))


class TestInProcesses:
    def test_a_sweep_of_processes_leaves_ordinary_runs_a_table_and_its_json(self, tmp_path, capsys):
        file = tmp_path / "grid.toml"
        file.write_text(config.to_toml(swept(seeds=[3], learning_rates=[1e-3, 1e30], num_threads=1)))
        command = ["sweep", "--config", str(file), "--run", str(tmp_path / "runs"), "--device", "cpu"]
        assert main([*command, "--processes", "2"]) == 0
        shown = capsys.readouterr().out
        assert re.search(r"^0\.001 +\d+\.\d\d +1 of 1 ", shown, re.MULTILINE)
        assert re.search(r"^1e\+30 +none +0 of 1$", shown, re.MULTILINE)
        record = json.loads((tmp_path / "runs" / "sweep.json").read_text())
        finished, diverged = record["runs"]
        folder = Path(finished["run"])
        assert finished["seed"] == 3
        assert finished["validation"] == read_metrics(folder)[-1]["valid/negative_elbo"]
        assert newest(folder).step == 30
        # The same numbers as of a run alone, and a folder that other commands take.
        alone, _ = commands.fit(folder / runs.CONFIG_FILE, [], tmp_path / "alone", "cpu")
        assert read_metrics(alone) == read_metrics(folder)
        config_of_one = EvaluationConfig(num_samples=1, importance_samples=(), exact=False)
        assert commands.evaluate_run(folder, "test", config_of_one, "cpu")["negative_elbo"].value > 0
        assert diverged["learning_rate"] == 1e30
        assert "TrainingDiverged" in (Path(diverged["run"]) / sweep.LOG_FILE).read_text()

    def test_a_sweep_that_is_stopped_saves_the_running_ones_and_continues(self, tmp_path):
        endless = swept(seeds=[1, 2], num_steps=10**7, log_every=50, evaluate_every=10**7, checkpoint_every=10**7)
        folders = sweep.create(tmp_path, sweep.members(endless))
        stop = threading.Event()
        ended = []
        trainer = threading.Thread(
            target=lambda: ended.append(sweep.train_in_processes(folders, num_processes=1, stop=stop))
        )
        trainer.start()
        while not read_metrics(folders[0]) and trainer.is_alive():
            trainer.join(0.1)
        stop.set()
        trainer.join(60)
        assert ended == [False]
        assert checkpoint.step_of(checkpoint.checkpoints(folders[0])[-1]) >= 50
        assert not checkpoint.checkpoints(folders[1])


def outcome(rate, seed, validation, *, step=10):
    return Outcome(
        run=f"{rate}-{seed}",
        seed=seed,
        learning_rate=rate,
        step=step,
        num_steps=10,
        bound=None if validation is None else "negative_elbo",
        validation=validation,
    )


def test_the_table_has_the_mean_and_sample_deviation_over_finished_seeds_best_first():
    outcomes = [
        outcome(1e-2, 0, 90.0),
        outcome(1e-3, 0, 80.0),
        outcome(1e-3, 1, 84.0),
        outcome(1e-3, 2, 10.0, step=5),
        outcome(1.0, 0, None, step=0),
    ]
    best, second, last = summaries(outcomes)
    assert (best.learning_rate, best.mean, best.num_finished, best.num_runs) == (1e-3, 82.0, 2, 3)
    assert best.deviation == pytest.approx(math.sqrt(8))
    assert best.best_run == "0.001-0"
    assert (second.mean, second.deviation) == (90.0, None)
    assert (last.mean, last.best_run, last.num_finished) == (None, None, 0)
    assert table(outcomes).splitlines()[1].split() == ["0.001", "82.00", "±", "2.83", "2", "of", "3", "0.001-0"]
    assert json.loads(sweep_table.as_json(outcomes))["learning_rates"][0]["mean"] == 82.0


def test_a_run_that_has_not_begun_has_no_number(tmp_path):
    (folder,) = sweep.create(tmp_path, sweep.members(swept(seeds=[1])))
    result = sweep_table.outcome(folder)
    assert (result.step, result.validation, result.is_finished) == (0, None, False)


def test_runs_one_after_the_other_are_those_of_fit(tmp_path):
    configs = sweep.members(swept(seeds=[1, 2], num_threads=1))
    folders = sweep.create(tmp_path, configs)
    assert sweep.train_in_turn(configs, folders, digits(), device=CPU, stop=threading.Event())
    assert all(newest(folder).step == 30 for folder in folders)
