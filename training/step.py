"""One step of training as a function of tensors that stay in their place.

Batch, schedules, loss, gradients, update and sums for the log: no number goes back to the host, and nothing that
changes from step to step is a Python number. So the step can be called, or recorded once on a GPU and replayed
(`training.recording`); what is computed is the same.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from training.batches import TrainingBatches
from training.compiling import CompiledFunction
from training.config import RunConfig
from training.data import Dataset
from training.errors import ConfigError
from training.fused_step import FusedStep, StepInputs, why_not_fused
from training.model import DiscreteVAE
from training.noise import Draw, DrawnNoise, NoiseOfRows, NoiseRecorder, NoiseSource, draw
from training.objectives import Objective, TrainingObjective, build_objective
from training.optimizers import build_optimizer, load_state
from training.ranks import ALONE, Ranks
from training.schedules import Schedule, value
from training.tally import accumulate

logger = logging.getLogger(__name__)


class StepProgram:
    """The step of one run: its state lies in `model`, `optimizer`, `generator` and `window`.

    Of several ranks each takes its share of the batch, with the noise that these rows would get in a batch that is
    whole; gradients and terms are averaged between backward pass and update, so that the state is the same on all.

    `prepare` is the host's part, before each step; calling it is the device's. `window` is that of
    `training.bookkeeping.RunState`.
    """

    def __init__(
        self,
        config: RunConfig,
        model: DiscreteVAE,
        batches: TrainingBatches,
        *,
        capturable: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        """Raises ConfigError when the parts of the configuration do not fit each other."""
        device, settings = batches.device, config.training
        self.model = model
        self.batches = batches
        self.generator = torch.Generator(device).manual_seed(settings.seed)
        self._noise = noise_of_share(self.generator, batches, model)
        self._config = config
        self._ranks = ranks
        if settings.compile and config.objective.free_bits > 0 and not ranks.is_alone:
            raise ConfigError(
                "training.compile: expected false with objective.free_bits on several processes: what is free depends "
                "on rows of all of them, which a compiled loss cannot ask for"
            )
        self._parameters = list(model.parameters())
        self._objective = build_objective(config.objective, model, config.estimator, ranks=ranks)
        self._rate = torch.zeros((), device=device)
        self.optimizer = build_optimizer(config.optimizer, self._parameters, rate=self._rate, capturable=capturable)
        use_precision(model, settings.precision)
        self._schedules = ScheduleTable(
            [config.relaxation_temperature, config.objective.beta, config.optimizer.learning_rate], batches
        )
        self.draws, self.terms = probe(model, self._objective, batches)
        self.window = torch.zeros(1 + len(self.terms), dtype=torch.float64, device=device)
        self._count, self._sums = self.window[:1], self.window[1:]
        self._compiled_loss: CompiledFunction[..., Objective] | None = None
        self._fused: FusedStep | None = None
        if settings.compile:
            reason = why_not_fused(device, self.optimizer, ranks)
            if reason is None:
                self._fused = FusedStep(model, self._objective, self.optimizer, otherwise=self._plain)
            else:
                logger.info("of a step the loss alone is compiled: %s", reason)
                self._compiled_loss = CompiledFunction(self._loss_of_noise)

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        """What the step draws from."""
        return (self.generator,)

    def prepare(self, step: int) -> None:
        """Make ready the step with this number, counted from 0; cheap for the one after the last that was prepared."""
        self.batches.seek(step)
        self._schedules.prepare(step)

    def __call__(self) -> None:
        """Take the step that was prepared."""
        inputs = self.batches.take(self._schedules.position, self.generator)
        tau, beta, rate = self._schedules.read()
        self._rate.copy_(rate)
        if self._fused is not None and self._fused.is_ready:
            self._fused(StepInputs(inputs, tau, beta, self._rate, self._drawn()), self._count, self._sums)
        else:
            self._update(self._loss(inputs, tau, beta))
        self._schedules.advance()

    def weights(self) -> dict[str, Tensor]:
        """The model's state dictionary."""
        return self.model.state_dict()

    def optimizer_state(self) -> dict[str, Any]:
        """The optimiser's state dictionary."""
        return self.optimizer.state_dict()

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Continue from the optimiser's state dictionary."""
        load_state(self.optimizer, state, rate=self._rate)

    def scheduled(self, step: int) -> dict[str, float]:
        """Every schedule's value in the step with this number, by name."""
        return scheduled(self._config, step)

    def _loss(self, inputs: Float[Tensor, "B D"], tau: Float[Tensor, ""], beta: Float[Tensor, ""]) -> Objective:
        if self._compiled_loss is None:
            return self._objective(inputs, relaxation_temperature=tau, generator=self._noise, beta=beta)
        return self._compiled_loss(inputs, tau, beta, self._drawn())

    def _drawn(self) -> list[Tensor]:
        return [draw(name, shape, self._noise) for name, shape in self.draws]

    def _loss_of_noise(self, inputs: Tensor, tau: Tensor, beta: Tensor, drawn: list[Tensor]) -> Objective:
        return self._objective(inputs, relaxation_temperature=tau, generator=DrawnNoise(drawn), beta=beta)

    def _plain(self, given: StepInputs) -> None:
        self._update(self._loss_of_noise(given.inputs, given.relaxation_temperature, given.beta, given.drawn))

    def _update(self, objective: Objective) -> None:
        """Gradients, the optimiser's step, and the sums."""
        for parameter in self._parameters:
            parameter.grad = None
        objective.loss.backward()
        means = torch.stack(list(objective.terms.values())).mean(dim=1)
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        self._ranks.average([*gradients, means])
        self.optimizer.step()
        accumulate(self._count, self._sums, means)


class ScheduleTable:
    """Schedules of every step of an epoch on the device, and the step's `position` in the epoch, [1]."""

    def __init__(self, schedules: Sequence[Schedule], batches: TrainingBatches) -> None:
        self.position = torch.zeros(1, dtype=torch.int64, device=batches.device)
        self._schedules = schedules
        self._per_epoch = batches.per_epoch
        self._epoch = -1
        self._table = torch.zeros(self._per_epoch, len(schedules), device=batches.device)

    def prepare(self, step: int) -> None:
        """Make ready the step with this number, unless it comes after the last one in the same epoch."""
        epoch, position = divmod(step, self._per_epoch)
        if epoch == self._epoch:
            return
        steps = range(epoch * self._per_epoch, (epoch + 1) * self._per_epoch)
        table = torch.tensor([[value(schedule, number) for schedule in self._schedules] for number in steps])
        if self._table.device.type == "cuda":
            table = table.pin_memory()
        self._table.copy_(table, non_blocking=True)
        self.position.fill_(position)
        self._epoch = epoch

    def read(self) -> tuple[Float[Tensor, ""], ...]:
        """The value of each schedule at `position`, in float32."""
        return self._table.index_select(0, self.position).view(-1).unbind()

    def advance(self) -> None:
        """To the next step."""
        self.position.add_(1)


class Probe(NamedTuple):
    """What noise a step draws, in order, and the names of the terms that are logged, the headline first."""

    draws: list[Draw]
    terms: tuple[str, ...]


def noise_of_share(generator: torch.Generator, batches: TrainingBatches, model: DiscreteVAE) -> NoiseSource:
    """Where the rows that are taken have their noise from."""
    if batches.num_taken == batches.batch_size:
        return generator
    return NoiseOfRows(generator, batches.share, batch_size=batches.batch_size, num_row_axes=len(model.latent.shape))


@torch.no_grad()
def probe(model: DiscreteVAE, objective: TrainingObjective, batches: TrainingBatches) -> Probe:
    """From a loss of zeros with a generator of its own, so that nothing of the run is used up."""
    recorder = NoiseRecorder(torch.Generator(batches.device).manual_seed(0))
    zeros = torch.zeros(batches.num_taken, model.encoder.mean.numel(), device=batches.device)
    one = torch.ones((), device=batches.device)
    result = objective(zeros, relaxation_temperature=one, generator=recorder, beta=one)
    return Probe(recorder.draws, tuple(result.terms))


def batches_of(config: RunConfig, dataset: Dataset, *, device: torch.device, ranks: Ranks = ALONE) -> TrainingBatches:
    """The share of a run's batches that is this rank's. Raises ConfigError when they do not fit the data."""
    try:
        batches = TrainingBatches(
            dataset,
            batch_size=config.training.batch_size,
            seed=config.training.seed,
            device=device,
            placement=None if config.data.placement == "auto" else config.data.placement,
            share=ranks.share(config.training.batch_size),
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    logger.info("training rows are %s", batches.placement)
    return batches


def use_precision(model: DiscreteVAE, precision: str) -> None:
    """Compute the layers of both networks in this precision from here on."""
    dtype = torch.bfloat16 if precision == "bfloat16" else None
    model.encoder.layer_dtype = model.decoder.layer_dtype = dtype


def scheduled(config: RunConfig, step: int) -> dict[str, float]:
    """Every schedule's value in the step with this number, by name."""
    return {
        "relaxation_temperature": value(config.relaxation_temperature, step),
        "beta": value(config.objective.beta, step),
        "learning_rate": value(config.optimizer.learning_rate, step),
    }
