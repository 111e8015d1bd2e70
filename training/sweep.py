"""Many runs of one architecture: every seed with every learning rate, each an ordinary run.

On a GPU the runs train together (`training.stacked`), on a CPU as processes, one core each.
"""

import dataclasses
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from training import checkpoint, runs
from training.bookkeeping import RunBook
from training.config import RunConfig
from training.data import Dataset
from training.errors import ConfigError, RunError, TrainingDiverged
from training.grid import SweepConfig
from training.recording import recorded, why_not_recorded
from training.schedules import ConstantSchedule
from training.stacked import StackedProgram
from training.trainer import Trainer

logger = logging.getLogger(__name__)

LOG_FILE = "training.log"
_POLL_SECONDS = 0.05


def members(config: RunConfig) -> list[RunConfig]:
    """The runs of the grid, those of one learning rate together. Raises ConfigError when there is no grid."""
    grid = config.sweep
    if grid.is_empty:
        raise ConfigError(
            "sweep: expected seeds or learning_rates, for example --set 'sweep.seeds=[0, 1, 2]'; `fit` trains one run"
        )
    configs = []
    for rate in grid.learning_rates or (None,):
        for seed in grid.seeds or (config.training.seed,):
            optimizer, name = config.optimizer, f"{config.name}-seed-{seed}"
            if rate is not None:
                optimizer = dataclasses.replace(optimizer, learning_rate=ConstantSchedule(value=rate))
                name += f"-lr-{rate:g}".replace("+", "")
            settings = dataclasses.replace(
                config.training,
                seed=seed,
                # A process a core leaves no core for a second thread.
                num_threads=1 if config.training.num_threads == "auto" else config.training.num_threads,
            )
            configs.append(
                dataclasses.replace(config, name=name, training=settings, optimizer=optimizer, sweep=SweepConfig())
            )
    return configs


def create(folder: Path, configs: Sequence[RunConfig]) -> list[Path]:
    """The folders of the runs, made where they are not there yet. Raises RunError when one holds another run."""
    folders = [folder / config.name for config in configs]
    for path, config in zip(folders, configs, strict=True):
        if not (path / runs.CONFIG_FILE).exists():
            runs.create(path, config)
        elif runs.read_config(path) != config:
            raise RunError(f"{path} holds a run of another configuration: choose another folder with --run")
    return folders


def train_in_processes(folders: Sequence[Path], *, num_processes: int, stop: threading.Event) -> bool:
    """Finish every run, `num_processes` at a time, each in a process of its own that logs into its folder.

    True when none was interrupted; once `stop` is set, each running one saves a checkpoint and ends, and no other
    begins. A run that fails, by divergence for instance, leaves the others alone.
    """
    waiting, running, interrupted = list(folders), dict[Path, subprocess.Popen[bytes]](), False
    told = False
    while waiting or running:
        if stop.is_set() and not told:
            told, interrupted, waiting = True, True, []
            for process in running.values():
                process.send_signal(signal.SIGTERM)
        while waiting and len(running) < num_processes:
            folder = waiting.pop(0)
            running[folder] = _process(folder)
        for folder, process in list(running.items()):
            if process.poll() is not None:
                del running[folder]
                if process.returncode not in (0, 130):
                    logger.warning("%s failed: %s", folder, _last_line(folder / LOG_FILE))
        time.sleep(_POLL_SECONDS)
    return not interrupted


def _process(folder: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "training", "fit", "--resume", "--run", str(folder), "--device", "cpu"]
    logger.info("training %s", folder)
    with (folder / LOG_FILE).open("ab") as log:
        # A session of its own, so that Ctrl-C reaches it once: through us.
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)  # noqa: S603 - our own


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "no message")


def train_together(
    configs: Sequence[RunConfig],
    folders: Sequence[Path],
    dataset: Dataset,
    *,
    device: torch.device,
    stop: threading.Event,
) -> bool:
    """Train all runs in one computation; True when the last step was reached.

    A run that diverges keeps its last good checkpoint and is left out from there on; the others go on. So is one whose
    newest checkpoint is older than those of the others. Raises NotStackable when they cannot be computed together.
    """
    settings = configs[0].training
    torch.set_num_threads(1 if settings.num_threads == "auto" else settings.num_threads)
    reason = why_not_recorded(device, wanted=settings.record)
    program = StackedProgram(configs, dataset, device=device, capturable=reason is None)
    take_step = recorded(program, device, reason=reason)
    validation = torch.from_numpy(dataset.evaluation_inputs("valid")).to(device)
    books = [
        RunBook(run.config, folder, run, validation=validation, device=device)
        for run, folder in zip(program.members, folders, strict=True)
    ]
    # From here on a run that has checkpoints needs nothing of the other.
    if settings.start_from is not None:
        for book, run in zip(books, program.members, strict=True):
            if not checkpoint.checkpoints(book.folder):
                runs.start_from(run.model, Path(settings.start_from))
                book.save()
    for book in books:
        book.resume()
    step = max(book.step for book in books)
    live = [book for book in books if book.step == step]
    for book in books:
        if book not in live:
            logger.warning("%s stopped at step %d, the others are at %d: it is left out", book.folder, book.step, step)
    started = time.monotonic() - live[0].seconds
    for book in live:
        book.open()
    try:
        with tqdm(total=settings.num_steps, initial=step, unit="step", disable=None) as progress:
            while step < settings.num_steps and live:
                program.prepare(step)
                take_step()
                step += 1
                progress.update()
                is_stopped = stop.is_set()
                if is_stopped or live[0].is_due(step):
                    live = _after_step(live, step, time.monotonic() - started, is_stopped=is_stopped)
                if is_stopped:
                    break
    finally:
        for book in books:
            book.close()
    return step == settings.num_steps


def train_in_turn(
    configs: Sequence[RunConfig],
    folders: Sequence[Path],
    dataset: Dataset,
    *,
    device: torch.device,
    stop: threading.Event,
) -> bool:
    """Train one run after the other; True when none was interrupted. One that diverges leaves the others alone."""
    for config, folder in zip(configs, folders, strict=True):
        trainer = Trainer(config, dataset, folder, device=device)
        trainer.resume()
        try:
            if not trainer.fit(stop):
                return False
        except TrainingDiverged as error:
            logger.warning("%s: %s", folder, error)
    return True


def _after_step(live: list[RunBook], step: int, seconds: float, *, is_stopped: bool) -> list[RunBook]:
    """Those runs that go on."""
    going_on = []
    for book in live:
        book.step = step
        try:
            book.after_step(seconds, is_stopped=is_stopped)
        except TrainingDiverged as error:
            logger.warning("%s: %s", book.folder, error)
            continue
        going_on.append(book)
    return going_on
