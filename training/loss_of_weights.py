"""The loss as a function of the model's weights, for the transforms of `torch.func`."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.model import DiscreteVAE
from training.noise import DrawnNoise
from training.objectives import TrainingObjective


class LossOfWeights(nn.Module):
    """For `torch.func.functional_call`: its parameters are those of `model`, each named `model.` and its name there."""

    def __init__(self, model: DiscreteVAE, objective: TrainingObjective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, inputs: Float[Tensor, "B D"], tau: Float[Tensor, ""], beta: Float[Tensor, ""], drawn: list[Tensor]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " T"]]:
        """The loss, and the means of the terms that are logged."""
        objective = self.objective(inputs, relaxation_temperature=tau, generator=DrawnNoise(drawn), beta=beta)
        return objective.loss, torch.stack(list(objective.terms.values())).mean(dim=-1)
