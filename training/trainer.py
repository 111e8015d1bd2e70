"""The training loop of one run: how it goes from step to step, and how it stops and continues."""

import logging
import threading
import time
from pathlib import Path

import torch
from tqdm import tqdm

from training import checkpoint
from training.bookkeeping import RunBook
from training.config import RunConfig
from training.data import Dataset
from training.ranks import ALONE, Ranks
from training.recording import recorded, why_not_recorded
from training.runs import build_model, start_from
from training.step import StepProgram, batches_of

logger = logging.getLogger(__name__)

_STEPS_BETWEEN_QUESTIONS = 10
"""How often ranks ask one another whether one of them was told to stop: every step would cost another message."""


class Trainer:
    """Trains the model of a configuration, writing checkpoints and a log into the run's folder.

    On the CPU a run that was interrupted and resumed reaches, bit for bit, the weights and logged values of one that
    was not: rows are a function of seed and step, and a checkpoint holds everything else that a step depends on.

    Several ranks, each with a trainer of its own, train one model: the one that a single process would get with the
    same configuration, up to rounding. The first of them writes, for all, and any number of them continues the run.
    """

    def __init__(
        self, config: RunConfig, dataset: Dataset, folder: Path, *, device: torch.device, ranks: Ranks = ALONE
    ) -> None:
        """Raises ConfigError when the configuration does not fit the data or the number of ranks."""
        self.config = config
        settings = config.training
        torch.set_num_threads(1 if settings.num_threads == "auto" else settings.num_threads)
        self.model = build_model(config, dataset).to(device)
        # From here on a run that has checkpoints needs nothing of the other.
        self._begins_with_weights = settings.start_from is not None and not checkpoint.checkpoints(folder)
        if self._begins_with_weights:
            start_from(self.model, Path(settings.start_from))
        self._ranks = ranks
        self._batches = batches_of(config, dataset, device=device, ranks=ranks)
        obstacle = None if ranks.is_alone else "gradients are averaged over several processes"
        reason = why_not_recorded(device, wanted=settings.record, obstacle=obstacle)
        self._program = StepProgram(config, self.model, self._batches, capturable=reason is None, ranks=ranks)
        self._take_step = recorded(self._program, device, reason=reason)
        validation = torch.from_numpy(dataset.evaluation_inputs("valid")).to(device)
        self._book = RunBook(config, folder, self._program, validation=validation, device=device, writes=ranks.is_first)

    @property
    def step(self) -> int:
        """How many steps were taken."""
        return self._book.step

    def resume(self) -> None:
        """Continue from the run's newest checkpoint; from the start when there is none."""
        self._book.resume()

    def fit(self, stop: threading.Event | None = None) -> bool:
        """Train to the last step; True when it was reached.

        Once `stop` is set, the step under way is finished, a checkpoint is saved, and the answer is False; of several
        ranks the `stop` of one is enough, and a few steps more may be taken. Raises TrainingDiverged when a term of the
        loss stops being finite, RunError when ranks do not continue from the same step, ProcessLost when one is gone.
        """
        num_steps = self.config.training.num_steps
        self._ranks.check_same(newest_checkpoint=self.step)
        # Hosts of another kind may have drawn the first weights otherwise.
        self._ranks.take_first(list(self.model.state_dict().values()))
        if self._begins_with_weights:
            self._book.save()
        started = time.monotonic() - self._book.seconds
        self._book.open()
        try:
            with tqdm(
                total=num_steps, initial=self.step, unit="step", disable=None if self._ranks.is_first else True
            ) as progress:
                while self.step < num_steps:
                    self._program.prepare(self.step)
                    self._take_step()
                    self._book.step += 1
                    progress.update()
                    is_stopped = self._is_stopped(stop)
                    shown = self._book.after_step(time.monotonic() - started, is_stopped=is_stopped)
                    if shown is not None:
                        progress.set_postfix_str(f"{self._book.headline} {shown:.2f} nats")
                    if is_stopped:
                        break
        finally:
            self._book.close()
            self._batches.close()
        return self.step == num_steps

    def _is_stopped(self, stop: threading.Event | None) -> bool:
        """Whether to stop after `step` steps: the same answer on every rank."""
        if not self._ranks.is_alone and self.step % _STEPS_BETWEEN_QUESTIONS:
            return False
        return self._ranks.any(stop is not None and stop.is_set())
