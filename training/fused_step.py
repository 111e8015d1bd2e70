"""Loss, gradient, Adam and sums of a step as one compiled function: the CPU's counterpart of a recorded step.

A step of a small model is two hundred operations, and on a CPU calling them takes as long as their products do.
Compiled as a whole they are the products, and half a dozen loops between them.

Weights, optimiser state and sums are written where they lie, and the state is the optimiser's own: checkpoints are
those of the plain step, and either continues from the other's.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.func import functional_call, grad_and_value

from training.compiling import CompiledFunction
from training.loss_of_weights import LossOfWeights
from training.model import DiscreteVAE
from training.objectives import TrainingObjective
from training.ranks import Ranks
from training.tally import accumulate


class StepInputs(NamedTuple):
    """What a step is a function of, beside the state of its run."""

    inputs: Float[Tensor, "B D"]
    relaxation_temperature: Float[Tensor, ""]
    beta: Float[Tensor, ""]
    learning_rate: Float[Tensor, ""]
    drawn: list[Tensor]


class AdamState(NamedTuple):
    """Of the weights that Adam has moved, by name: they, its counts of steps and its two moments."""

    weights: dict[str, Tensor]
    counts: dict[str, Tensor]
    first: dict[str, Tensor]
    second: dict[str, Tensor]


def why_not_fused(device: torch.device, optimizer: torch.optim.Optimizer, ranks: Ranks) -> str | None:
    """What stands against one function for the whole step, in words; None when nothing does."""
    if device.type != "cpu":
        return "on a GPU the whole of it is recorded"
    if type(optimizer) is not torch.optim.Adam:
        return "the one update that can be compiled with it is Adam's"
    return None if ranks.is_alone else "gradients are averaged over several processes"


class FusedStep:
    """The step of one run, once its optimiser has the state that the optimiser's own first step makes."""

    def __init__(
        self,
        model: DiscreteVAE,
        objective: TrainingObjective,
        optimizer: torch.optim.Optimizer,
        *,
        otherwise: Callable[[StepInputs], None],
    ) -> None:
        """`otherwise` is the step that is taken in its place, from then on, when it cannot be compiled."""
        self._loss = LossOfWeights(model, objective)
        self._parameters = {f"model.{name}": parameter for name, parameter in model.named_parameters()}
        self._optimizer = optimizer
        self._take = CompiledFunction(self._uncompiled, otherwise=lambda given, *_: otherwise(given))

    @property
    def is_ready(self) -> bool:
        return bool(self._optimizer.state)

    def __call__(self, given: StepInputs, count: Float64[Tensor, "1"], sums: Float64[Tensor, " T"]) -> None:
        """Take the step, and add the means of its terms to `sums`."""
        state = adam_state(self._optimizer, self._parameters)
        self._take(given, state, corrections(self._optimizer, state), count, sums)

    def _uncompiled(
        self,
        given: StepInputs,
        state: AdamState,
        corrections: Float[Tensor, "2"],
        count: Float64[Tensor, "1"],
        sums: Float64[Tensor, " T"],
    ) -> None:
        def loss(weights: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            inputs = (given.inputs, given.relaxation_temperature, given.beta, given.drawn)
            return functional_call(self._loss, weights, inputs)

        gradients, (_, means) = grad_and_value(loss, has_aux=True)(state.weights)
        update(self._optimizer, state, gradients, corrections, given.learning_rate)
        accumulate(count, sums, means.detach())


def adam_state(optimizer: torch.optim.Optimizer, parameters: dict[str, Tensor]) -> AdamState:
    """The optimiser's own tensors, and the weights as tensors that ask for no gradient, in the same memory."""
    moved = {name: parameter for name, parameter in parameters.items() if parameter in optimizer.state}
    entries = {name: optimizer.state[parameter] for name, parameter in moved.items()}
    return AdamState(
        {name: parameter.detach() for name, parameter in moved.items()},
        {name: entry["step"] for name, entry in entries.items()},
        {name: entry["exp_avg"] for name, entry in entries.items()},
        {name: entry["exp_avg_sq"] for name, entry in entries.items()},
    )


def corrections(optimizer: torch.optim.Optimizer, state: AdamState) -> Float[Tensor, "2"]:
    """`1 - beta1^t` and `sqrt(1 - beta2^t)` for the step t that comes, float32 from doubles.

    Powers in float32 would be wrong by 6e-5 in the first steps, and within the compiled loops would be raised for
    every weight anew.
    """
    beta1, beta2 = optimizer.param_groups[0]["betas"]
    step = 1 + next(iter(state.counts.values())).item()
    return torch.tensor([1 - beta1**step, math.sqrt(1 - beta2**step)])


@torch.no_grad()
def update(
    optimizer: torch.optim.Optimizer,
    state: AdamState,
    gradients: dict[str, Tensor],
    corrections: Float[Tensor, "2"],
    learning_rate: Float[Tensor, ""],
) -> None:
    """Adam (Kingma and Ba 2015, algorithm 1) in place, as tensor operations that a compiler can fuse."""
    group = optimizer.param_groups[0]
    (beta1, beta2), epsilon = group["betas"], group["eps"]
    for name, gradient in gradients.items():
        first, second = state.first[name], state.second[name]
        state.counts[name].add_(1)
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        denominator = second.sqrt() / corrections[1] + epsilon
        state.weights[name].sub_(learning_rate / corrections[0] * first / denominator)
