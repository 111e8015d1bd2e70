"""One model trained by two processes that `torchrun` starts, connected by Gloo, as users start them."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from tiny_runs import CATEGORIES, CONV, CPU, StopAt, digits, newest, tiny_config, train
from waiting import eventually

from training import checkpoint, runs
from training.config import parse, to_dict, to_toml
from training.runlog import read_metrics
from training.trainer import Trainer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Sums over rows in another order. A code that flips for a rounding changes the next steps, so runs are short.
TOLERANCE = 1e-4


@contextmanager
def torchrun(*arguments, log, restarts=0, program=("-m", "--", "training")):
    """Two processes of the program, by default `python -m training`; ended with the block."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [f"--max-restarts={restarts}", *map(str, (*program, *arguments)), "--device", "cpu"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"})
    try:
        yield process
    finally:
        if process.poll() is None:
            # Each worker leads a process group of its own.
            for each in (*children(process.pid), process.pid):
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
        process.wait()


def trained_by_two(*arguments, log, restarts=0):
    """What they wrote to the screen, once they have ended well."""
    with torchrun(*arguments, log=log, restarts=restarts) as process:
        code = process.wait(timeout=240)
    assert code == 0, log.read_text()
    return log.read_text()


def configured(folder, settings):
    """A run that has not begun."""
    runs.create(folder, settings)
    return folder


def newest_step(folder):
    kept = checkpoint.checkpoints(folder)
    return checkpoint.step_of(kept[-1]) if kept else 0


def children(process_id):
    return [int(child) for child in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]


def is_running(process_id):
    """Not ended; one that nobody has waited for yet has."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(") ")[2][0] != "Z"


def rank_of(process_id):
    environment = Path(f"/proc/{process_id}/environ").read_bytes().split(b"\0")
    return next((int(entry.removeprefix(b"RANK=")) for entry in environment if entry.startswith(b"RANK=")), None)


def with_section(settings, **sections):
    return parse({**to_dict(settings), **sections})


def assert_same_curve(one, other, *, tolerance=TOLERANCE):
    """Every logged number at every logged step, up to rounding."""
    ones, others = read_metrics(one), read_metrics(other)
    assert [record.keys() for record in ones] == [record.keys() for record in others]
    for record, expected in zip(ones, others, strict=True):
        assert record == pytest.approx(expected, rel=tolerance), f"step {expected['step']}"


@pytest.mark.parametrize(
    "settings",
    [
        with_section(tiny_config(), objective={"free_bits": 0.02}),
        with_section(tiny_config(CATEGORIES, CONV), data={"placement": "streamed"}),
    ],
    ids=["bits with free bits, of an mlp", "categories of streamed rows, of convolutions"],
)
def test_two_processes_learn_what_one_learns_with_the_same_batches(tmp_path, settings):
    train(settings, tmp_path / "one")
    (tmp_path / "run.toml").write_text(to_toml(settings))
    two = tmp_path / "two"
    output = trained_by_two("fit", "--config", tmp_path / "run.toml", "--run", two, log=tmp_path / "log")
    assert_same_curve(two, tmp_path / "one")
    by_two, by_one = newest(two), newest(tmp_path / "one")
    for name, weights in by_one.model.items():
        torch.testing.assert_close(by_two.model[name], weights, rtol=1e-3, atol=1e-5)
    # The very noise that one process draws; so either can continue what the other began.
    assert torch.equal(by_two.generator, by_one.generator)
    assert "2 x cpu, 1 thread" in output
    # The first speaks for both.
    assert output.count(f"trained: {two}") == 1
    assert "rank 1:" not in output


NOTES_ITS_THREADS_AT_EXIT = """
import atexit, os, sys
from pathlib import Path
from training.__main__ import main

@atexit.register
def note():
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    Path(sys.argv[1], os.environ["RANK"]).write_text("\\n".join(names))

sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the names of threads in /proc")
def test_no_thread_of_gloo_is_left_to_a_process_that_ends(tmp_path):
    # One that drops a tensor of Python's while the interpreter ends takes the process with it: SIGABRT.
    program = tmp_path / "program.py"
    program.write_text(NOTES_ITS_THREADS_AT_EXIT)
    two = configured(tmp_path / "two", tiny_config())
    with torchrun(tmp_path, "fit", "--resume", "--run", two, log=tmp_path / "log", program=("--", program)) as process:
        assert process.wait(timeout=240) == 0, (tmp_path / "log").read_text()
    for rank in "01":
        names = (tmp_path / rank).read_text().splitlines()
        assert names
        assert not [name for name in names if "gloo" in name]


WAITS_IN_THE_MIDST = """
import os, sys, time
from pathlib import Path
from training.__main__ import main
from training.runlog import RunLog

file, step_to_wait_at, *arguments = sys.argv[1:]
log = RunLog.scalars

def log_and_wait(self, step, values):
    log(self, step, values)
    is_first_attempt = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    while is_first_attempt and step >= int(step_to_wait_at) and not Path(file).exists():
        time.sleep(0.01)

RunLog.scalars = log_and_wait
sys.exit(main(arguments))
"""


class WaitingInTheMidst:
    """`python -m training` whose first rank, once it has logged `step`, goes on only when it is told to.

    So what is done to it meanwhile is done in the midst of training, however fast that is or slow the test.
    """

    def __init__(self, folder, *, step):
        (folder / "program.py").write_text(WAITS_IN_THE_MIDST)
        self._file = folder / "go-on"
        self.program = ("--", folder / "program.py", self._file, step)

    def go_on(self):
        self._file.touch()


def test_told_to_stop_they_save_where_they_are_and_one_process_continues(tmp_path):
    settings = tiny_config(num_steps=300, log_every=10, checkpoint_every=300, evaluate_every=300)
    two = configured(tmp_path / "two", settings)
    waiting, log = WaitingInTheMidst(tmp_path, step=20), tmp_path / "log"
    with torchrun("fit", "--resume", "--run", two, log=log, program=waiting.program) as process:
        eventually(lambda: len(read_metrics(two)) >= 2, seconds=240)
        # As a scheduler ends a job; torchrun passes it on.
        process.send_signal(signal.SIGTERM)
        eventually(lambda: "rank 0: stopping after this step" in log.read_text(), every=0.01)
        waiting.go_on()
        process.wait(timeout=240)
    output = log.read_text()
    assert "interrupted; continue with: python -m training fit --resume" in output
    stopped_at = newest(two).step
    assert 20 <= stopped_at <= 30
    trainer = Trainer(settings, digits(), two, device=CPU)
    trainer.resume()
    assert trainer.step == stopped_at
    trainer.fit(StopAt(trainer, stopped_at + 10))
    one = configured(tmp_path / "one", settings)
    whole = Trainer(settings, digits(), one, device=CPU)
    whole.fit(StopAt(whole, stopped_at + 10))
    assert_same_curve(two, one, tolerance=1e-2)


def test_where_torchrun_is_killed_they_end(tmp_path):
    settings = tiny_config(num_steps=100_000, log_every=10, checkpoint_every=100_000, evaluate_every=100_000)
    two = configured(tmp_path / "two", settings)
    with torchrun("fit", "--resume", "--run", two, log=tmp_path / "log") as process:
        eventually(lambda: len(read_metrics(two)) >= 2, seconds=240)
        orphans = children(process.pid)
        try:
            process.kill()
            eventually(lambda: not any(map(is_running, orphans)), seconds=60)
        finally:
            for each in filter(is_running, orphans):
                os.kill(each, signal.SIGKILL)
    assert len(orphans) == 2
    # Where all are told before one of the others is missed, they have saved where they were.
    assert all(20 <= checkpoint.step_of(path) < 100_000 for path in checkpoint.checkpoints(two))


def test_where_one_is_killed_the_other_ends_with_a_sentence_and_both_begin_again_at_the_newest_checkpoint(tmp_path):
    settings = tiny_config(num_steps=400, log_every=20, checkpoint_every=20, evaluate_every=200)
    two = configured(tmp_path / "two", settings)
    # Begun by one process.
    begun = Trainer(settings, digits(), two, device=CPU)
    begun.fit(StopAt(begun, 20))
    waiting, log = WaitingInTheMidst(tmp_path, step=80), tmp_path / "log"
    with torchrun("fit", "--resume", "--run", two, log=log, restarts=1, program=waiting.program) as process:
        eventually(lambda: newest_step(two) >= 60, seconds=240)
        (victim,) = [child for child in children(process.pid) if rank_of(child) == 1]
        os.kill(victim, signal.SIGKILL)
        waiting.go_on()
        assert process.wait(timeout=240) == 0, (tmp_path / "log").read_text()
    output = (tmp_path / "log").read_text()
    assert "rank 0: ProcessLost: another process of this training ended or cannot be reached" in output
    assert newest(two).step == 400
    # Each step once, in spite of all.
    steps = [record["step"] for record in read_metrics(two) if "train/negative_elbo" in record]
    assert steps == list(range(20, 401, 20))
    train(settings, tmp_path / "one")
    ends = [read_metrics(folder)[-1]["valid/negative_elbo"] for folder in (two, tmp_path / "one")]
    assert ends[0] == pytest.approx(ends[1], rel=0.02)


def test_a_loss_that_is_no_number_ends_both_at_the_step_where_it_stopped_being_one(tmp_path):
    settings = tiny_config(optimizer={"name": "sgd", "learning_rate": 1e30})
    two = configured(tmp_path / "two", settings)
    with torchrun("fit", "--resume", "--run", two, log=tmp_path / "log") as process:
        assert process.wait(timeout=240) != 0
    assert "rank 0: TrainingDiverged: the distortion" in (tmp_path / "log").read_text()
    assert not checkpoint.checkpoints(two)
