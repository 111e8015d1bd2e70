"""The steps of many runs of one architecture in one computation, because a single small model leaves a GPU idle.

The weights of all runs lie in one tensor for each parameter, [R, ...], and the model of each run sees its own slice of
it, so that it is validated and saved like any other. Forward and backward are one `torch.func.vmap` of the loss. Each
run has its own order of the rows, and its noise from its own generator, in the order in which a single run would draw
it. Optimisers update element by element, so that one of them serves all runs that share a learning rate.

What a run learns is what it would learn alone with the same seed, up to the rounding of the products. R runs, B rows,
D input values.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from training.batches import as_inputs
from training.config import RunConfig
from training.data import Dataset
from training.errors import NotStackable
from training.loss_of_weights import LossOfWeights
from training.model import DiscreteVAE
from training.noise import draw_each
from training.objectives import build_objective
from training.optimizers import build_optimizer
from training.runs import build_model
from training.step import ScheduleTable, batches_of, probe, scheduled, use_precision
from training.tally import accumulate


class StackedProgram:
    """One step of every run; like `training.step.StepProgram` it can be called, or recorded and replayed."""

    def __init__(
        self, configs: Sequence[RunConfig], dataset: Dataset, *, device: torch.device, capturable: bool = False
    ) -> None:
        """`configs` differ in seed and learning rate alone, and those with one learning rate stand together.

        Raises ConfigError when one of them does not fit the data, NotStackable when they cannot be computed together.
        """
        first = configs[0]
        self._dataset = dataset
        self._batches = [batches_of(first, dataset, device=device)]
        if self._batches[0].placement == "streamed":
            raise NotStackable("runs train together on rows that lie on the device, and these are streamed")
        self._batches += [self._batches[0].of_seed(config.training.seed) for config in configs[1:]]
        models = [build_model(config, dataset).to(device) for config in configs]
        self._weights = {
            name: torch.stack([dict(model.named_parameters())[name].detach() for model in models])
            for name, _ in models[0].named_parameters()
        }
        for number, model in enumerate(models):
            for name, parameter in model.named_parameters():
                parameter.data = self._weights[name][number]
        use_precision(models[0], first.training.precision)
        self._loss = LossOfWeights(models[0], build_objective(first.objective, models[0], first.estimator))
        self.draws, terms = probe(models[0], self._loss.objective, self._batches[0])
        self.generators = [torch.Generator(device).manual_seed(config.training.seed) for config in configs]
        windows = torch.zeros(len(configs), 1 + len(terms), dtype=torch.float64, device=device)
        self._count, self._sums = windows[:, :1], windows[:, 1:]
        self._groups: list[_Group] = []
        self.members: list[StackedRun] = []
        for _, together in groupby(enumerate(configs), key=lambda each: each[1].optimizer):
            numbers, members = zip(*together, strict=True)
            weights = [values[numbers[0] : numbers[-1] + 1] for values in self._weights.values()]
            group = _Group(members[0], weights, slice(numbers[0], numbers[-1] + 1), capturable=capturable)
            self._groups.append(group)
            self.members += [
                StackedRun(config, models[number], self.generators[number], windows[number], terms, group)
                for number, config in zip(numbers, members, strict=True)
            ]
        self._schedules = ScheduleTable(
            [first.relaxation_temperature, first.objective.beta, *(group.learning_rate for group in self._groups)],
            self._batches[0],
        )
        self._epoch = -1
        self._order = torch.zeros(
            self._batches[0].per_epoch, len(configs), first.training.batch_size, dtype=torch.int64, device=device
        )
        self._check_stackable()

    def prepare(self, step: int) -> None:
        """Make ready the step with this number, counted from 0; cheap for the one after the last that was prepared."""
        self._schedules.prepare(step)
        epoch = step // self._batches[0].per_epoch
        if epoch != self._epoch:
            for number, batches in enumerate(self._batches):
                self._order[:, number].copy_(batches.order(epoch))
            self._epoch = epoch

    def __call__(self) -> None:
        """Take the step that was prepared, of every run."""
        inputs = self._inputs()
        tau, beta, *rates = self._schedules.read()
        drawn = [draw_each(name, shape, self.generators) for name, shape in self.draws]
        weights = {name: values.detach().requires_grad_() for name, values in self._weights.items()}
        losses, means = self._losses(weights, inputs, tau, beta, drawn)
        gradients = torch.autograd.grad(losses.sum(), list(weights.values()))
        for group, rate in zip(self._groups, rates, strict=True):
            group.update(gradients, rate)
        accumulate(self._count, self._sums, means.detach())
        self._schedules.advance()

    def close(self) -> None:
        """End whatever works ahead."""
        for batches in self._batches:
            batches.close()

    def _inputs(self) -> Float[Tensor, "R B D"]:
        rows = self._order.index_select(0, self._schedules.position)[0]
        raw = self._batches[0].rows.take(rows.view(-1)).unflatten(0, rows.shape)
        return as_inputs(
            self._dataset,
            raw,
            lambda: torch.stack(
                [torch.rand(raw.shape[1:], device=raw.device, generator=generator) for generator in self.generators]
            ),
        )

    def _losses(
        self,
        weights: dict[str, Tensor],
        inputs: Float[Tensor, "R B D"],
        tau: Float[Tensor, ""],
        beta: Float[Tensor, ""],
        drawn: list[Tensor],
    ) -> tuple[Float[Tensor, " R"], Float[Tensor, "R T"]]:
        """The loss of each run, and the means of its terms."""

        def one(weights: dict[str, Tensor], inputs: Tensor, drawn: list[Tensor]) -> tuple[Tensor, Tensor]:
            return functional_call(self._loss, weights, (inputs, tau, beta, drawn))

        named = {f"model.{name}": values for name, values in weights.items()}
        return vmap(one)(named, inputs, drawn)

    def _check_stackable(self) -> None:
        """Raises NotStackable when an operation of the loss has no version for many runs."""
        shape, one = (len(self.members), self._batches[0].batch_size), torch.ones((), device=self._batches[0].device)
        mean = self.members[0].model.encoder.mean
        drawn = [torch.ones(shape[:1] + size, device=mean.device) for _, size in self.draws]
        try:
            self._losses(self._weights, mean.expand(*shape, -1), one, one, drawn)
        except RuntimeError as error:
            raise NotStackable(
                f"the loss of these runs cannot be computed together: {str(error).splitlines()[0]}"
            ) from error


class StackedRun:
    """One of the runs, as `training.bookkeeping` sees it."""

    def __init__(
        self,
        config: RunConfig,
        model: DiscreteVAE,
        generator: torch.Generator,
        window: Float[Tensor, " _"],
        terms: tuple[str, ...],
        group: "_Group",
    ) -> None:
        self.config = config
        self.model = model
        self.generator = generator
        self.window = window
        self.terms = terms
        self._group = group
        self._place = group.take_place()

    def weights(self) -> dict[str, Tensor]:
        """A copy: the model's own are slices, and would be saved with those of all other runs."""
        return {name: values.clone() for name, values in self.model.state_dict().items()}

    def optimizer_state(self) -> dict[str, Any]:
        """That of the optimiser that would have trained the run alone."""
        alone = build_optimizer(self.config.optimizer, self.model.parameters(), rate=self._group.rate.clone())
        return {**alone.state_dict(), "state": self._group.state_of(self._place)}

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Continue from what `optimizer_state`, or a run alone, has kept."""
        self._group.load(self._place, state["state"])

    def scheduled(self, step: int) -> dict[str, float]:
        """Every schedule's value in the step with this number, by name."""
        return scheduled(self.config, step)


class _Group:
    """Runs that share a learning rate, and so an optimiser."""

    def __init__(self, config: RunConfig, weights: Sequence[Tensor], runs: slice, *, capturable: bool) -> None:
        self.learning_rate = config.optimizer.learning_rate
        self.rate = torch.zeros((), device=weights[0].device)
        self._runs = runs
        self._num_places = 0
        # Parameters that share their memory with the weights of these runs.
        self._parameters = [nn.Parameter(values) for values in weights]
        self._optimizer = build_optimizer(config.optimizer, self._parameters, rate=self.rate, capturable=capturable)

    def take_place(self) -> int:
        """The next run's number within the group."""
        self._num_places += 1
        return self._num_places - 1

    def update(self, gradients: Sequence[Float[Tensor, "R ..."]], rate: Float[Tensor, ""]) -> None:
        """One step of the optimiser, given the gradients of all runs."""
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            # Mapped products leave transposed gradients, and fused optimisers read memory as it lies.
            parameter.grad = gradient[self._runs].contiguous()
        self.rate.copy_(rate)
        self._optimizer.step()

    def state_of(self, place: int) -> dict[int, dict[str, Tensor]]:
        """The optimiser's state of one run, by the number of the parameter."""
        return {
            number: {
                name: (entry if name == "step" else entry[place]).clone()
                for name, entry in self._optimizer.state[parameter].items()
            }
            for number, parameter in enumerate(self._parameters)
            if parameter in self._optimizer.state
        }

    def load(self, place: int, state: dict[int, dict[str, Tensor]]) -> None:
        for number, entries in state.items():
            parameter = self._parameters[number]
            slot = self._optimizer.state[parameter]
            for name, entry in entries.items():
                if name == "step":
                    slot[name] = entry.clone()
                else:
                    slot.setdefault(name, torch.zeros_like(parameter))[place].copy_(entry)
