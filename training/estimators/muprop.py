"""MuProp: the score function with a mean-field network's Taylor expansion taken out of the cost."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from training.estimators.interface import Cost, Estimate, Estimator, check_count, draw_codes
from training.latents import LatentConfig
from training.noise import NoiseSource
from training.posteriors import Posterior
from training.relaxations import relax


@dataclass(frozen=True, kw_only=True)
class MuProp(Estimator):
    """The score function of what a first-order expansion of the cost leaves; of the expansion, the gradient itself.

    Gu, Levine, Sutskever and Mnih 2016, arXiv:1511.05176, equation 5. The expansion is about the code's mean,
    `sigmoid(logits)` or `softmax(logits)`, where the cost is evaluated and differentiated once ("mean-field pass"), and
    the gradient of its expectation is straight-through's at the mean. Unbiased, whatever the cost makes of values
    between codes, since the expansion is a baseline whose expectation is known. A cost that is linear in the code is
    exact, without variance. The variance that a score function has stays with what is not linear.

    The paper's further baselines, a running mean and a network of the input, are not there: of `num_samples` above 1
    each has the mean remainder of the others as its own, as in `reinforce_leave_one_out`, which needs neither.
    """

    name: Literal["muprop"] = "muprop"
    num_samples: int = 1

    is_unbiased: ClassVar[bool] = True
    uses_relaxation_temperature: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_count("num_samples", self.num_samples, 1)

    def __call__(
        self,
        posterior: Posterior,
        cost: Cost,
        *,
        relaxation_temperature: Float[Tensor, ""],  # noqa: ARG002 - the one signature
        generator: NoiseSource,
    ) -> Estimate:
        """`num_samples` codes a row, the cost as often, and once at the mean of the code."""
        latent, logits = posterior.latent, posterior.logits
        mean = relax(logits, torch.ones((), device=logits.device), latent.kind)
        with torch.no_grad():  # the slope is a number: nothing is to be differentiated through it
            slope, at_mean = _slope(cost, mean.detach())
        codes = draw_codes(posterior, generator, self.num_samples)
        costs = cost(codes)
        axes = tuple(range(-len(latent.shape), 0))
        expansion = at_mean + (slope * (codes - mean.detach())).sum(dim=axes)
        remainder = (costs - expansion).detach()
        if self.num_samples > 1:
            remainder = (remainder - remainder.mean(dim=0)) * (self.num_samples / (self.num_samples - 1))
        score = (remainder * latent.log_prob(logits, codes)).mean(dim=0)
        value = costs.mean(dim=0)
        return Estimate(value.detach(), value + score + (slope * mean).sum(dim=axes))

    def num_evaluations(self, latent: LatentConfig) -> int:  # noqa: ARG002 - the one signature
        return self.num_samples + 1


def _slope(cost: Cost, point: Float[Tensor, "B *latent"]) -> tuple[Float[Tensor, "B *latent"], Float[Tensor, " B"]]:
    """Gradient of each row's cost at its point, and the cost there. Rows do not depend on one another."""

    def total(values: Tensor) -> tuple[Tensor, Tensor]:
        costs = cost(values)
        return costs.sum(), costs

    slope, costs = torch.func.grad(total, has_aux=True)(point)
    return slope, costs
