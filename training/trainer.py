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
from training.recording import recorded, why_not_recorded
from training.runs import build_model, start_from
from training.step import StepProgram, batches_of

logger = logging.getLogger(__name__)


class Trainer:
    """Trains the model of a configuration, writing checkpoints and a log into the run's folder.

    On the CPU a run that was interrupted and resumed reaches, bit for bit, the weights and logged values of one that
    was not: rows are a function of seed and step, and a checkpoint holds everything else that a step depends on.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, folder: Path, *, device: torch.device) -> None:
        """Raises ConfigError when the configuration does not fit the data."""
        self.config = config
        settings = config.training
        torch.set_num_threads(1 if settings.num_threads == "auto" else settings.num_threads)
        self.model = build_model(config, dataset).to(device)
        # From here on a run that has checkpoints needs nothing of the other.
        self._begins_with_weights = settings.start_from is not None and not checkpoint.checkpoints(folder)
        if self._begins_with_weights:
            start_from(self.model, Path(settings.start_from))
        self._batches = batches_of(config, dataset, device=device)
        reason = why_not_recorded(device, wanted=settings.record)
        self._program = StepProgram(config, self.model, self._batches, capturable=reason is None)
        self._take_step = recorded(self._program, device, reason=reason)
        validation = torch.from_numpy(dataset.evaluation_inputs("valid")).to(device)
        self._book = RunBook(config, folder, self._program, validation=validation, device=device)

    @property
    def step(self) -> int:
        """How many steps were taken."""
        return self._book.step

    def resume(self) -> None:
        """Continue from the run's newest checkpoint; from the start when there is none."""
        self._book.resume()

    def fit(self, stop: threading.Event | None = None) -> bool:
        """Train to the last step; True when it was reached.

        Once `stop` is set, the step under way is finished, a checkpoint is saved, and the answer is False. Raises
        TrainingDiverged when a term of the loss stops being finite.
        """
        num_steps = self.config.training.num_steps
        if self._begins_with_weights:
            self._book.save()
        started = time.monotonic() - self._book.seconds
        self._book.open()
        try:
            with tqdm(total=num_steps, initial=self.step, unit="step", disable=None) as progress:
                while self.step < num_steps:
                    self._program.prepare(self.step)
                    self._take_step()
                    self._book.step += 1
                    progress.update()
                    is_stopped = stop is not None and stop.is_set()
                    shown = self._book.after_step(time.monotonic() - started, is_stopped=is_stopped)
                    if shown is not None:
                        progress.set_postfix_str(f"{self._book.headline} {shown:.2f} nats")
                    if is_stopped:
                        break
        finally:
            self._book.close()
            self._batches.close()
        return self.step == num_steps
