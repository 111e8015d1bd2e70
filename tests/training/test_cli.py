import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tiny_runs import assert_same_run, newest, tiny_config, train

from models.repository import Repository
from training import checkpoint, runs
from training.__main__ import EXIT_INTERRUPTED, main
from training.config import to_toml
from training.runlog import METRICS_FILE

# A sign of life must come within this, on the slowest of machines; nothing else depends on it.
PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 30 steps. Not to be written to."""
    root = tmp_path_factory.mktemp("cli")
    (root / "run.toml").write_text(to_toml(tiny_config()))
    assert main(["fit", "--config", str(root / "run.toml"), "--run", str(root / "run")]) == 0
    return root / "run"


def refused(arguments, capsys):
    """The one sentence on stderr with which a command ends."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.endswith("\n")
    assert "\n" not in output.err[:-1]
    return output.err[:-1]


def images(folder, *sizes):
    folder.mkdir()
    for number, (width, height) in enumerate(sizes):
        Image.new("L", (width, height), 100).save(folder / f"{number}.png")
    return folder


def array(folder, values):
    np.save(folder / "rows.npy", values)
    return folder / "rows.npy"


def data_missing(root):
    return ["data.name=folder", f"data.path={root}/none"], f"found nothing at '{root}/none'; correct the path"


def array_missing(root):
    return ["data.name=array", f"data.path={root}/none.npy"], f"found nothing at '{root}/none.npy'; correct the path"


def folder_without_images(root):
    return ["data.name=folder", f"data.path={images(root / 'empty')}"], f"{root}/empty: expected images"


def images_of_mixed_sizes(root):
    folder = images(root / "mixed", *[(8, 8)] * 10, (9, 8))
    return ["data.name=folder", f"data.path={folder}"], "of 8 x 9 pixels (height x width); set data.resize"


def values_above_one(root):
    path = array(root, np.full((20, 4), 1.5, np.float32))
    return ["data.name=array", f"data.path={path}"], "expected floats from 0 to 1, got 1.5 at [0, 0]"


def values_below_zero(root):
    path = array(root, np.full((20, 4), -0.5))
    return ["data.name=array", f"data.path={path}"], "expected floats from 0 to 1, got -0.5 at [0, 0]"


def values_that_are_no_numbers(root):
    values = np.zeros((20, 4), np.float32)
    values[3, 2] = np.nan
    return ["data.name=array", f"data.path={array(root, values)}"], "expected floats from 0 to 1, got nan at [3, 2]"


def convolutions_on_vectors(root):
    path = array(root, np.zeros((30, 4), np.float32))
    return ["data.name=array", f"data.path={path}", "network.kind=conv"], "network.kind: "


def batch_larger_than_the_data(root):
    path = array(root, np.zeros((30, 4), np.float32))
    return ["data.name=array", f"data.path={path}"], "training.batch_size: expected 1 to 24, the size of the training"


def unknown_key(root):
    return ["training.num_step=3"], "unknown key training.num_step: did you mean training.num_steps?"


def value_of_the_wrong_type(root):
    return ["training.num_steps=many"], "training.num_steps: Input should be a valid integer, got 'many'"


BAD_DATA = [
    data_missing,
    array_missing,
    folder_without_images,
    images_of_mixed_sizes,
    values_above_one,
    values_below_zero,
    values_that_are_no_numbers,
    convolutions_on_vectors,
    batch_larger_than_the_data,
    unknown_key,
    value_of_the_wrong_type,
]


def fit_arguments(overrides, run):
    return ["fit", "--run", str(run), *(part for override in overrides for part in ("--set", override))]


@pytest.mark.parametrize("bad", BAD_DATA, ids=lambda bad: bad.__name__)
def test_what_cannot_be_trained_on_is_refused_in_a_sentence_before_a_run_begins(tmp_path, capsys, bad):
    overrides, message = bad(tmp_path)
    assert message in refused(fit_arguments(overrides, tmp_path / "run"), capsys)
    assert not (tmp_path / "run").exists()


def start(arguments, log):
    """`python -m training` as a process of its own, its stderr in a file."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with log.open("wb") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "training", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment,
        )


def test_a_process_that_refuses_ends_with_status_1_one_sentence_and_no_traceback(tmp_path):
    overrides, message = images_of_mixed_sizes(tmp_path)
    process = start(fit_arguments(overrides, tmp_path / "run"), tmp_path / "log")
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    errors = (tmp_path / "log").read_text()
    assert (process.returncode, out) == (1, "")
    assert errors.startswith("DataError: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_configuration_that_is_not_there_is_named(tmp_path, capsys):
    sentence = refused(["fit", "--config", tmp_path / "none.toml"], capsys)
    assert sentence == f"ConfigError: cannot read the configuration {tmp_path}/none.toml: No such file or directory"


def test_a_run_is_not_written_over(finished, capsys):
    before = (finished / "config.toml").read_bytes()
    sentence = refused(["fit", "--set", "training.num_steps=1", "--run", finished], capsys)
    assert f"{finished} holds a run already: continue it with --resume" in sentence
    assert (finished / "config.toml").read_bytes() == before
    assert newest(finished).step == 30


def test_a_run_folder_that_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    sentence = refused(["fit", "--set", "training.num_steps=1", "--run", tmp_path / "file" / "run"], capsys)
    assert f"cannot write to the run folder {tmp_path}/file/run: Not a directory" in sentence


def test_a_log_that_cannot_be_written_is_named(tmp_path, capsys, finished):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / METRICS_FILE).unlink()
    (run / METRICS_FILE).mkdir()
    assert f"{run / METRICS_FILE}: " in refused(["fit", "--resume", "--run", run], capsys)


@pytest.mark.parametrize(
    "arguments",
    [["--resume"], ["--resume", "--run", "x", "--set", "name=y"], ["--resume", "--run", "x", "--config", "y.toml"]],
    ids=["no run", "overrides", "configuration"],
)
def test_resume_takes_a_run_and_nothing_else(arguments, capsys):
    sentence = refused(["fit", *arguments], capsys)
    assert "--resume continues a run as it was configured: give its --run, and no --config or --set" in sentence


def commands_on(run, root):
    return [["fit", "--resume", "--run", run], ["evaluate", run], ["export", run, "--repository", root / "models"]]


def test_every_command_says_when_a_folder_is_no_run(tmp_path, capsys):
    for arguments in commands_on(tmp_path / "none", tmp_path):
        sentence = refused(arguments, capsys)
        assert f"{tmp_path}/none is not the folder of a run: it has no config.toml" in sentence


def test_every_command_says_when_a_checkpoint_is_damaged_and_goes_on_once_it_is_gone(tmp_path, capsys, finished):
    run = shutil.copytree(finished, tmp_path / "run")
    damaged = checkpoint.checkpoints(run)[-1]
    damaged.write_bytes(damaged.read_bytes()[:-100])
    for arguments in commands_on(run, tmp_path):
        sentence = refused(arguments, capsys)
        assert f"{damaged} cannot be read as a checkpoint" in sentence
        assert "remove it to use the one before" in sentence
    damaged.unlink()
    assert main(["fit", "--resume", "--run", str(run)]) == 0
    assert_same_run(run, finished)


def test_a_run_without_checkpoints_is_told_to_train(tmp_path, capsys):
    runs.create(tmp_path / "run", tiny_config())
    for arguments in commands_on(tmp_path / "run", tmp_path)[1:]:
        assert f"no checkpoint yet: train it with `python -m training fit --resume --run {tmp_path}/run`" in refused(
            arguments, capsys
        )


def test_a_run_that_diverges_ends_with_its_last_good_checkpoint(tmp_path, capsys):
    overrides = ["optimizer.name=sgd", "optimizer.learning_rate=1e30", "training.num_steps=50", "network.hidden=[5]"]
    sentence = refused(fit_arguments(overrides, tmp_path / "run"), capsys)
    assert sentence.startswith("TrainingDiverged: the distortion")
    assert "stopped being finite at step" in sentence
    assert "there is no checkpoint before it; try a smaller optimizer.learning_rate" in sentence


@pytest.mark.parametrize("options", [["--num-samples", 0], ["-m", 0], ["--seed", -1]], ids=lambda options: options[0])
def test_an_evaluation_that_means_nothing_is_refused(finished, capsys, options):
    refused(["evaluate", finished, *options], capsys)


def test_a_name_that_no_model_can_have_is_refused_and_nothing_is_written(tmp_path, capsys, finished):
    run = shutil.copytree(finished, tmp_path / "run")
    assert main(["evaluate", str(run), "--num-samples", "1", "-m"]) == 0
    assert "name" in refused(["export", run, "--repository", tmp_path / "models", "--name", "Two Words"], capsys)
    assert Repository(tmp_path / "models").names() == []


def test_help_and_wrong_usage_end_as_usual(capsys):
    for arguments, status in ((["--help"], 0), (["fit", "--help"], 0), ([], 2), (["train"], 2), (["evaluate"], 2)):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == status
    assert "python -m training fit --resume --run" in capsys.readouterr().out


def test_evaluate_prints_the_data_and_a_line_a_metric_with_its_protocol(finished, tmp_path, capsys):
    run = shutil.copytree(finished, tmp_path / "run")
    capsys.readouterr()
    assert main(["evaluate", str(run), "--num-samples", "1", "-m", "2"]) == 0
    measured_on, head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["metric", "value", "std.", "error", "unit", "how"]
    kept = json.loads((run / "evaluation-test.json").read_text())["metrics"]
    assert [line.split()[0] for line in lines] == [metric["name"] for metric in kept]
    for line, metric in zip(lines, kept, strict=True):
        assert metric["protocol"].startswith(f"{measured_on}; ")
        assert line.endswith(f"  {metric['protocol'].removeprefix(f'{measured_on}; ')}")


def wait_until(condition, process):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process.poll() is None, "the process ended before it was interrupted"
        assert time.monotonic() < deadline, "no sign of life"
        time.sleep(0.005)


@contextmanager
def endless_run(folder):
    """A process in the middle of a run so long that it cannot reach its end before it is interrupted."""
    settings = tiny_config(num_steps=10**9, log_every=7, evaluate_every=50, checkpoint_every=20)
    settings_file = folder.with_suffix(".toml")
    settings_file.write_text(to_toml(settings))
    arguments = ["fit", "--config", settings_file, "--run", folder, "--device", "cpu"]
    with start(arguments, folder.with_suffix(".log")) as process:
        try:
            yield process
        finally:
            process.kill()


def shorten(folder, num_steps):
    """Give a run an end. No step depends on it."""
    settings = runs.read_config(folder)
    settings = replace(settings, training=replace(settings.training, num_steps=num_steps))
    (folder / "config.toml").write_text(to_toml(settings))
    return settings


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_process_asked_to_stop_saves_a_checkpoint_and_continues_to_the_same_numbers(tmp_path, number):
    run, log = tmp_path / "run", tmp_path / "run.log"
    with endless_run(run) as process:
        wait_until(lambda: (run / METRICS_FILE).is_file() and (run / METRICS_FILE).stat().st_size > 0, process)
        process.send_signal(number)
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out) == (EXIT_INTERRUPTED, "")
    errors = log.read_text()
    assert "stopping after this step; a checkpoint is saved" in errors
    assert "Traceback" not in errors
    advice = errors.splitlines()[-1]
    assert advice == f"interrupted; continue with: python -m training fit --resume --run {run}"
    settings = shorten(run, newest(run).step + 13)
    command = shlex.split(advice.partition("python -m training ")[2])
    if number == signal.SIGTERM:
        resumed = start(command, log)
        resumed.communicate(timeout=PATIENCE_SECONDS)
        assert resumed.returncode == 0, log.read_text()
    else:
        assert main(command) == 0
    train(settings, tmp_path / "whole")
    assert_same_run(run, tmp_path / "whole")


def test_a_process_that_was_killed_continues_from_its_last_checkpoint_to_the_same_numbers(tmp_path):
    run = tmp_path / "run"
    with endless_run(run) as process:
        wait_until(lambda: len(checkpoint.checkpoints(run)) == 2, process)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert newest(run).step % 20 == 0
    settings = shorten(run, newest(run).step + 13)
    assert main(["fit", "--resume", "--run", str(run)]) == 0
    train(settings, tmp_path / "whole")
    assert_same_run(run, tmp_path / "whole")
