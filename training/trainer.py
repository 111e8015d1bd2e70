"""The training loop: its state, what it logs, and how it stops and continues."""

import logging
import math
import threading
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from training import checkpoint
from training.batches import TrainingBatches
from training.checkpoint import Checkpoint
from training.config import RunConfig
from training.data import Dataset
from training.devices import describe
from training.errors import ConfigError, TrainingDiverged
from training.objectives import Objective, bound_name, build_objective, discrete_negative_elbo
from training.optimizers import build_optimizer, set_learning_rate
from training.runlog import RunLog
from training.runs import build_model
from training.schedules import Schedule, value

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
        torch.set_num_threads(config.training.num_threads)
        self.model = build_model(config, dataset).to(device)
        self._optimizer = build_optimizer(config.optimizer, self.model.parameters())
        self._objective = build_objective(config.objective, self.model, config.estimator)
        self._generator = torch.Generator(device).manual_seed(config.training.seed)
        try:
            self._batches = TrainingBatches(
                dataset, batch_size=config.training.batch_size, seed=config.training.seed, device=device
            )
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self._validation = torch.from_numpy(dataset.evaluation_inputs("valid")).to(device)
        # Names of the objective's terms, the headline first; known with the first step.
        self._terms: tuple[str, ...] = ()
        # Over the steps since the last line of the log: how many there were before a term was not finite, and sums of
        # each term. A sum that is not finite stays so.
        self._window = torch.zeros(0, dtype=torch.float64, device=device)
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
        self._optimizer.load_state_dict(state.optimizer)
        try:
            self._generator.set_state(state.generator)
        except RuntimeError:
            # A GPU's generator has another state than the CPU's.
            logger.warning("trained on %s so far: drawing other noise from here on", state.device)
            self._generator.manual_seed(self.config.training.seed + self.step)
        self._window = state.window.to(self._device)
        logger.info("resuming %s at step %d of %d", self._folder, self.step, self.config.training.num_steps)

    def fit(self, stop: threading.Event | None = None) -> bool:
        """Train to the last step; True when it was reached.

        Once `stop` is set, the step under way is finished, a checkpoint is saved, and the answer is False. Raises
        TrainingDiverged when a term of the loss stops being finite.
        """
        settings = self.config.training
        started = time.monotonic() - self._seconds
        with (
            RunLog(self._folder, step=self.step) as log,
            tqdm(total=settings.num_steps, initial=self.step, unit="step", disable=None) as progress,
        ):
            while self.step < settings.num_steps:
                self._accumulate(self._take_step())
                self.step += 1
                progress.update()
                is_last = self.step == settings.num_steps
                is_stopped = stop is not None and stop.is_set()
                if self.step % settings.log_every == 0 or is_last:
                    means = self._close_window()
                    log.scalars(self.step, means)
                    progress.set_postfix_str(f"{self._terms[0]} {means[f'train/{self._terms[0]}']:.2f} nats")
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
        return self.step == settings.num_steps

    def _take_step(self) -> Objective:
        inputs = self._batches.inputs(self.step, self._generator)
        objective = self._objective(
            inputs,
            relaxation_temperature=self._scheduled(self.config.relaxation_temperature),
            generator=self._generator,
            beta=self._scheduled(self.config.objective.beta),
        )
        set_learning_rate(self._optimizer, value(self.config.optimizer.learning_rate, self.step))
        self._optimizer.zero_grad(set_to_none=True)
        objective.loss.backward()
        self._optimizer.step()
        return objective

    def _scheduled(self, schedule: Schedule) -> Tensor:
        return torch.tensor(value(schedule, self.step), device=self._device)

    def _accumulate(self, objective: Objective) -> None:
        self._terms = tuple(objective.terms)
        if not len(self._window):
            self._window = torch.zeros(1 + len(self._terms), dtype=torch.float64, device=self._device)
        terms = torch.stack([term.mean() for term in objective.terms.values()]).double()
        sums = self._window[1:]
        # What comes after the first bad step would only say how far it has spread.
        sums += torch.where(torch.isfinite(sums).all(), terms, 0)
        self._window[0] += torch.isfinite(sums).all()

    def _close_window(self) -> dict[str, float]:
        """Means over the steps since the last line, and a new window. One synchronisation with the device."""
        self._check_finite()
        num_steps, *sums = self._window.tolist()
        self._window.zero_()
        means = {f"train/{term}": total / num_steps for term, total in zip(self._terms, sums, strict=True)}
        scheduled = {
            "relaxation_temperature": self.config.relaxation_temperature,
            "beta": self.config.objective.beta,
            "learning_rate": self.config.optimizer.learning_rate,
        }
        return means | {name: value(schedule, self.step - 1) for name, schedule in scheduled.items()}

    def _check_finite(self) -> None:
        if not len(self._window):
            return
        num_finite, *sums = self._window.tolist()
        bad = [term for term, total in zip(self._terms, sums, strict=True) if not math.isfinite(total)]
        # The first is the sum of the others, where there are others.
        bad = bad[1:] or bad
        if not bad:
            return
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
                optimizer=self._optimizer.state_dict(),
                generator=self._generator.get_state(),
                window=self._window,
            ),
            keep=self.config.training.keep_checkpoints,
            milestones=self.config.training.milestones,
        )
