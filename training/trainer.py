"""The training loop: its state, what it logs, and how it stops and continues."""

import logging
import math
import threading
import time
from pathlib import Path

import torch
from tqdm import tqdm

from training import checkpoint
from training.batches import TrainingBatches
from training.checkpoint import Checkpoint
from training.config import RunConfig
from training.data import Dataset
from training.devices import describe
from training.errors import ConfigError, TrainingDiverged
from training.objectives import bound_name, discrete_negative_elbo
from training.recording import recorded, why_not_recorded
from training.runlog import RunLog
from training.runs import build_model, start_from
from training.step import StepProgram

logger = logging.getLogger(__name__)

_VALIDATION_SEED = 1
_VALIDATION_ROWS = 1_000


class Trainer:
    """Trains the model of a configuration, writing checkpoints and a log into the run's folder.

    On the CPU a run that was interrupted and resumed reaches, bit for bit, the weights and logged values of one that
    was not: rows are a function of seed and step, and a checkpoint holds everything else that a step depends on.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, folder: Path, *, device: torch.device) -> None:
        """Raises ConfigError when the configuration does not fit the data."""
        self.config = config
        self.step = 0
        self._folder = folder
        self._device = device
        settings = config.training
        torch.set_num_threads(1 if settings.num_threads == "auto" else settings.num_threads)
        self.model = build_model(config, dataset).to(device)
        if settings.start_from is not None and not checkpoint.checkpoints(folder):
            start_from(self.model, Path(settings.start_from))
        try:
            self._batches = TrainingBatches(
                dataset,
                batch_size=settings.batch_size,
                seed=settings.seed,
                device=device,
                placement=None if config.data.placement == "auto" else config.data.placement,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from error
        reason = why_not_recorded(device, wanted=settings.record)
        self._program = StepProgram(config, self.model, self._batches, capturable=reason is None)
        self._take_step = recorded(self._program, device, reason=reason)
        logger.info("training rows are %s", self._batches.placement)
        self._validation = torch.from_numpy(dataset.evaluation_inputs("valid")).to(device)
        self._seconds = 0.0

    def resume(self) -> None:
        """Continue from the run's newest checkpoint; from the start when there is none."""
        paths = checkpoint.checkpoints(self._folder)
        if not paths:
            logger.info("no checkpoint in %s: starting from step 0", self._folder)
            return
        state = checkpoint.load(paths[-1], device=self._device)
        self.step, self._seconds = state.step, state.seconds
        checkpoint.restore(self.model, state, paths[-1])
        self._program.load_optimizer(state.optimizer)
        generator = self._program.generator
        try:
            generator.set_state(state.generator)
        except RuntimeError:
            # A GPU's generator has another state than the CPU's.
            logger.warning("trained on %s so far: drawing other noise from here on", state.device)
            generator.manual_seed(self.config.training.seed + self.step)
        self._program.window.copy_(state.window)
        logger.info("resuming %s at step %d of %d", self._folder, self.step, self.config.training.num_steps)

    def fit(self, stop: threading.Event | None = None) -> bool:
        """Train to the last step; True when it was reached.

        Once `stop` is set, the step under way is finished, a checkpoint is saved, and the answer is False. Raises
        TrainingDiverged when a term of the loss stops being finite.
        """
        settings = self.config.training
        if settings.start_from is not None and self.step == 0 and not checkpoint.checkpoints(self._folder):
            # From here on the run needs nothing of the other.
            self._save()
        started = time.monotonic() - self._seconds
        with (
            RunLog(self._folder, step=self.step) as log,
            tqdm(total=settings.num_steps, initial=self.step, unit="step", disable=None) as progress,
        ):
            while self.step < settings.num_steps:
                self._program.prepare(self.step)
                self._take_step()
                self.step += 1
                progress.update()
                is_last = self.step == settings.num_steps
                is_stopped = stop is not None and stop.is_set()
                if self.step % settings.log_every == 0 or is_last:
                    means = self._close_window()
                    log.scalars(self.step, means)
                    headline = self._program.terms[0]
                    progress.set_postfix_str(f"{headline} {means[f'train/{headline}']:.2f} nats")
                if self.step % settings.evaluate_every == 0 or is_last:
                    log.scalars(self.step, self._validate())
                is_due = self.step % settings.checkpoint_every == 0 or self.step in settings.milestones
                if is_due or is_last or is_stopped:
                    self._seconds = time.monotonic() - started
                    self._check_finite()
                    self._check_weights()
                    self._save()
                if is_stopped:
                    break
        self._batches.close()
        return self.step == settings.num_steps

    def _close_window(self) -> dict[str, float]:
        """Means over the steps since the last line, and a new window. One synchronisation with the device."""
        num_steps, *sums = self._check_finite()
        self._program.window.zero_()
        means = {f"train/{term}": total / num_steps for term, total in zip(self._program.terms, sums, strict=True)}
        return means | self._program.scheduled(self.step - 1)

    def _check_finite(self) -> list[float]:
        """The window, once it is known that every sum in it is a number."""
        window = self._program.window.tolist()
        num_finite, *sums = window
        bad = [term for term, total in zip(self._program.terms, sums, strict=True) if not math.isfinite(total)]
        # The first is the sum of the others, where there are others.
        bad = bad[1:] or bad
        if not bad:
            return window
        window_start = (self.step - 1) // self.config.training.log_every * self.config.training.log_every
        raise self._diverged(
            f"the {' and the '.join(bad)} stopped being finite at step {window_start + int(num_finite) + 1}"
        )

    def _check_weights(self) -> None:
        """The last update may have spoilt them: the loss was measured before it."""
        bad = [name for name, values in self.model.state_dict().items() if not torch.isfinite(values).all()]
        if bad:
            raise self._diverged(f"the weights {', '.join(bad)} stopped being finite by step {self.step}")

    def _diverged(self, what: str) -> TrainingDiverged:
        kept = checkpoint.checkpoints(self._folder)
        where = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint before it"
        return TrainingDiverged(f"{what}; {where}; try a smaller optimizer.learning_rate")

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """-ELBO on the whole validation split, one sample a row, drawn from a stream of its own."""
        generator = torch.Generator(self._device).manual_seed(_VALIDATION_SEED)
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        for inputs in self._validation.split(_VALIDATION_ROWS):
            total += discrete_negative_elbo(self.model, inputs, generator).sum()
        bound = total.item() / len(self._validation)
        name = bound_name(self.model)
        logger.info("step %d: validation %s %.2f nats", self.step, name, bound)
        return {f"valid/{name}": bound}

    def _save(self) -> None:
        checkpoint.save(
            self._folder,
            Checkpoint(
                step=self.step,
                seconds=self._seconds,
                device=describe(self._device),
                model=self.model.state_dict(),
                optimizer=self._program.optimizer.state_dict(),
                generator=self._program.generator.get_state(),
                window=self._program.window,
            ),
            keep=self.config.training.keep_checkpoints,
            milestones=self.config.training.milestones,
        )
