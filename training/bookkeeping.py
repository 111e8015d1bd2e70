"""What is kept of a run while it trains: its log, its validation, its checkpoints; and that its numbers are numbers."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from training import checkpoint
from training.checkpoint import Checkpoint
from training.config import RunConfig
from training.devices import describe
from training.errors import TrainingDiverged
from training.model import DiscreteVAE
from training.objectives import bound_name, discrete_negative_elbo
from training.runlog import RunLog

logger = logging.getLogger(__name__)

_VALIDATION_SEED = 1
_VALIDATION_ROWS = 1_000


@runtime_checkable
class RunState(Protocol):
    """What a run consists of between two steps: `training.step.StepProgram`, or one of many that train together.

    `window` holds sums over the steps since it was last set to 0: how many there were before a term was not finite, and
    each of the `terms`.
    """

    model: DiscreteVAE
    generator: torch.Generator
    window: Float[Tensor, " _"]
    terms: Sequence[str]

    def weights(self) -> dict[str, Tensor]:
        """The model's state dictionary, for keeping."""
        ...

    def optimizer_state(self) -> dict[str, Any]:
        """The optimiser's state dictionary, for keeping."""
        ...

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Continue from such a dictionary."""
        ...

    def scheduled(self, step: int) -> dict[str, float]:
        """Every schedule's value in the step with this number, by name."""
        ...


class RunBook:
    """Keeps one run's log and checkpoints in its folder. `step` counts the steps that were taken.

    Where several ranks train the run, one of them `writes`; the books of the others read and check alone.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        state: RunState,
        *,
        validation: Float[Tensor, "R D"],
        device: torch.device,
        writes: bool = True,
    ) -> None:
        self.step = 0
        self.seconds = 0.0
        self._config = config
        self.folder = folder
        self._state = state
        self._validation = validation
        self._device = device
        self._writes = writes
        self._log: RunLog | None = None

    def resume(self) -> None:
        """Give `state` what the run's newest checkpoint holds; nothing when there is none."""
        paths = checkpoint.checkpoints(self.folder)
        if not paths:
            logger.info("no checkpoint in %s: starting from step 0", self.folder)
            return
        kept, state = checkpoint.load(paths[-1], device=self._device), self._state
        self.step, self.seconds = kept.step, kept.seconds
        checkpoint.restore(state.model, kept, paths[-1])
        state.load_optimizer(kept.optimizer)
        try:
            state.generator.set_state(kept.generator)
        except RuntimeError:
            # A GPU's generator has another state than the CPU's.
            logger.warning("trained on %s so far: drawing other noise from here on", kept.device)
            state.generator.manual_seed(self._config.training.seed + self.step)
        state.window.copy_(kept.window)
        logger.info("resuming %s at step %d of %d", self.folder, self.step, self._config.training.num_steps)

    def open(self) -> None:
        """Begin, or continue, the log at `step`."""
        if self._writes:
            self._log = RunLog(self.folder, step=self.step)

    def close(self) -> None:
        """End the log; twice is no error."""
        if self._log is not None:
            self._log.close()
            self._log = None

    @property
    def headline(self) -> str:
        """The first term's name."""
        return self._state.terms[0]

    def is_due(self, step: int) -> bool:
        """Whether anything is to be logged, measured or saved after that many steps."""
        settings = self._config.training
        return (
            step % settings.log_every == 0
            or step % settings.evaluate_every == 0
            or step % settings.checkpoint_every == 0
            or step in settings.milestones
            or step == settings.num_steps
        )

    def after_step(self, seconds: float, *, is_stopped: bool) -> float | None:
        """`step` steps were taken in `seconds`: log, measure and save what is due.

        The headline's mean where it was logged. Raises TrainingDiverged when a term, or a weight that would be saved,
        is not finite.
        """
        settings, shown = self._config.training, None
        is_last = self.step == settings.num_steps
        if self.step % settings.log_every == 0 or is_last:
            means = self._close_window()
            self._write(means)
            shown = means[f"train/{self.headline}"]
        if self._writes and (self.step % settings.evaluate_every == 0 or is_last):
            self._write(self._validate())
        is_due = self.step % settings.checkpoint_every == 0 or self.step in settings.milestones
        if is_due or is_last or is_stopped:
            self.seconds = seconds
            self._check_finite()
            self._check_weights()
            self.save()
        return shown

    def _write(self, values: dict[str, float]) -> None:
        if not self._writes:
            return
        if self._log is None:
            raise RuntimeError("a run's book must be opened before its steps are taken. This is a bug.")
        self._log.scalars(self.step, values)

    def _close_window(self) -> dict[str, float]:
        """Means over the steps since the last line, and a new window. One synchronisation with the device."""
        num_steps, *sums = self._check_finite()
        self._state.window.zero_()
        means = {f"train/{term}": total / num_steps for term, total in zip(self._state.terms, sums, strict=True)}
        return means | self._state.scheduled(self.step - 1)

    def _check_finite(self) -> list[float]:
        """The window, once it is known that every sum in it is a number."""
        window = self._state.window.tolist()
        num_finite, *sums = window
        bad = [term for term, total in zip(self._state.terms, sums, strict=True) if not math.isfinite(total)]
        # The first is the sum of the others, where there are others.
        bad = bad[1:] or bad
        if not bad:
            return window
        window_start = (self.step - 1) // self._config.training.log_every * self._config.training.log_every
        raise self._diverged(
            f"the {' and the '.join(bad)} stopped being finite at step {window_start + int(num_finite) + 1}"
        )

    def _check_weights(self) -> None:
        """The last update may have spoilt them: the loss was measured before it."""
        bad = [name for name, values in self._state.model.state_dict().items() if not torch.isfinite(values).all()]
        if bad:
            raise self._diverged(f"the weights {', '.join(bad)} stopped being finite by step {self.step}")

    def _diverged(self, what: str) -> TrainingDiverged:
        kept = checkpoint.checkpoints(self.folder)
        where = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint before it"
        return TrainingDiverged(f"{what}; {where}; try a smaller optimizer.learning_rate")

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """-ELBO on the whole validation split, one sample a row, drawn from a stream of its own."""
        generator = torch.Generator(self._device).manual_seed(_VALIDATION_SEED)
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        for inputs in self._validation.split(_VALIDATION_ROWS):
            total += discrete_negative_elbo(self._state.model, inputs, generator).sum()
        bound = total.item() / len(self._validation)
        name = bound_name(self._state.model)
        logger.info("step %d: validation %s %.2f nats", self.step, name, bound)
        return {f"valid/{name}": bound}

    def save(self) -> None:
        """Write a checkpoint of the state as it is."""
        if not self._writes:
            return
        state, settings = self._state, self._config.training
        checkpoint.save(
            self.folder,
            Checkpoint(
                step=self.step,
                seconds=self.seconds,
                device=describe(self._device),
                model=state.weights(),
                optimizer=state.optimizer_state(),
                generator=state.generator.get_state(),
                window=state.window.clone(),
            ),
            keep=settings.keep_checkpoints,
            milestones=settings.milestones,
        )
