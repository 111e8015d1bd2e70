"""One step of training as a function of tensors that stay in their place.

Batch, schedules, loss, gradients, update and sums for the log: no number goes back to the host, and nothing that
changes from step to step is a Python number. So the step can be called, or recorded once on a GPU and replayed
(`training.recording`); what is computed is the same.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from training.batches import TrainingBatches
from training.config import RunConfig
from training.model import DiscreteVAE
from training.noise import DrawnNoise, NoiseRecorder, draw
from training.objectives import Objective, build_objective
from training.optimizers import build_optimizer, load_state
from training.schedules import value


class StepProgram:
    """The step of one run: its state lies in `model`, `optimizer`, `generator` and `window`.

    `prepare` is the host's part, before each step; calling it is the device's. `window` holds sums over the steps since
    it was last set to 0: how many there were before a term was not finite, and each term. A sum that is not finite
    stays so.
    """

    def __init__(
        self,
        config: RunConfig,
        model: DiscreteVAE,
        batches: TrainingBatches,
        *,
        capturable: bool = False,
    ) -> None:
        """Raises ConfigError when the parts of the configuration do not fit each other."""
        device, settings = batches.device, config.training
        self.model = model
        self.batches = batches
        self.generator = torch.Generator(device).manual_seed(settings.seed)
        self._config = config
        self._parameters = list(model.parameters())
        self._objective = build_objective(config.objective, model, config.estimator)
        self._rate = torch.zeros((), device=device)
        self.optimizer = build_optimizer(config.optimizer, self._parameters, rate=self._rate, capturable=capturable)
        if settings.precision == "bfloat16":
            model.encoder.layer_dtype = model.decoder.layer_dtype = torch.bfloat16
        self._epoch = -1
        self._position = torch.zeros(1, dtype=torch.int64, device=device)
        # A line a step of the epoch: relaxation temperature, beta, learning rate.
        self._schedule = torch.zeros(batches.per_epoch, 3, device=device)
        self.draws, self.terms = self._probe()
        self.window = torch.zeros(1 + len(self.terms), dtype=torch.float64, device=device)
        self._count, self._sums = self.window[:1], self.window[1:]
        self._compiled_loss = torch.compile(self._loss_of_noise, dynamic=False) if settings.compile else None

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        """What the step draws from."""
        return (self.generator,)

    def prepare(self, step: int) -> None:
        """Make ready the step with this number, counted from 0; cheap for the one after the last that was prepared."""
        self.batches.seek(step)
        epoch, position = divmod(step, self.batches.per_epoch)
        if epoch == self._epoch:
            return
        first = epoch * self.batches.per_epoch
        rows = [self._scheduled(number) for number in range(first, first + self.batches.per_epoch)]
        table = torch.tensor(rows, dtype=torch.float32)
        if self.batches.device.type == "cuda":
            table = table.pin_memory()
        self._schedule.copy_(table, non_blocking=True)
        self._position.fill_(position)
        self._epoch = epoch

    def __call__(self) -> None:
        """Take the step that was prepared."""
        inputs = self.batches.take(self._position, self.generator)
        tau, beta, rate = self._schedule.index_select(0, self._position).view(-1).unbind()
        objective = self._loss(inputs, tau, beta)
        for parameter in self._parameters:
            parameter.grad = None
        objective.loss.backward()
        self._rate.copy_(rate)
        self.optimizer.step()
        self._accumulate(objective.terms)
        self._position.add_(1)

    def load_optimizer(self, state: dict) -> None:
        """Continue from the optimiser's state dictionary."""
        load_state(self.optimizer, state, rate=self._rate)

    def scheduled(self, step: int) -> dict[str, float]:
        """Every schedule's value in the step with this number, by name."""
        return dict(zip(("relaxation_temperature", "beta", "learning_rate"), self._scheduled(step), strict=True))

    def _scheduled(self, step: int) -> tuple[float, float, float]:
        config = self._config
        return (
            value(config.relaxation_temperature, step),
            value(config.objective.beta, step),
            value(config.optimizer.learning_rate, step),
        )

    def _loss(self, inputs: Float[Tensor, "B D"], tau: Float[Tensor, ""], beta: Float[Tensor, ""]) -> Objective:
        if self._compiled_loss is None:
            return self._objective(inputs, relaxation_temperature=tau, generator=self.generator, beta=beta)
        drawn = [draw(name, shape, self.generator) for name, shape in self.draws]
        return self._compiled_loss(inputs, tau, beta, drawn)

    def _loss_of_noise(self, inputs: Tensor, tau: Tensor, beta: Tensor, drawn: list[Tensor]) -> Objective:
        return self._objective(inputs, relaxation_temperature=tau, generator=DrawnNoise(drawn), beta=beta)

    @torch.no_grad()
    def _accumulate(self, terms: Mapping[str, Float[Tensor, " B"]]) -> None:
        means = torch.stack(list(terms.values())).mean(dim=1).double()
        # What comes after the first bad step would only say how far it has spread.
        self._sums += torch.where(torch.isfinite(self._sums).all(), means, 0)
        self._count += torch.isfinite(self._sums).all()

    @torch.no_grad()
    def _probe(self) -> tuple[list, tuple[str, ...]]:
        """What noise a step draws, in order, and the names of the terms, the headline first.

        From a loss of zeros with a generator of its own, so that nothing of the run is used up.
        """
        recorder = NoiseRecorder(torch.Generator(self.batches.device).manual_seed(0))
        zeros = torch.zeros(self.batches.batch_size, self.model.encoder.mean.numel(), device=self.batches.device)
        one = torch.ones((), device=self.batches.device)
        objective = self._objective(zeros, relaxation_temperature=one, generator=recorder, beta=one)
        return recorder.draws, tuple(objective.terms)
