"""Straight-through: the code going forward, the gradient of something smooth going backward."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from training.estimators.interface import Cost, Estimate, Estimator, check_positive, draw_codes
from training.noise import NoiseSource
from training.posteriors import Posterior
from training.relaxations import relax


def straight_through(
    codes: Float[Tensor, "*batch_latent"], relaxed: Float[Tensor, "*batch_latent"]
) -> Float[Tensor, "*batch_latent"]:
    """The code going forward, exactly 0 or 1; the gradient of `relaxed` going backward.

    Biased in general. Exact in expectation for a cost linear in the code when `relaxed` is the mean of the code; not
    when it is a Concrete sample. Bengio, Leonard and Courville 2013, arXiv:1308.3432.
    """
    return codes.detach() + (relaxed - relaxed.detach())


@dataclass(frozen=True, kw_only=True)
class StraightThrough(Estimator):
    """The gradient of the code's mean, `sigmoid(logits)` or `softmax(logits)`, in the place of the code's.

    Bengio, Leonard and Courville 2013, arXiv:1308.3432, section 4; for categories as in Hafner et al. 2020,
    arXiv:2010.02193. Exact in expectation for a cost that is linear in each latent, whatever the others are; biased
    otherwise. The relaxation temperature is not used: `backward_temperature` divides the logits of the mean, 1 being
    the method as published and the only value at which linear costs are exact.
    """

    name: Literal["straight_through"] = "straight_through"
    backward_temperature: float = 1.0

    uses_relaxation_temperature: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive("backward_temperature", self.backward_temperature)

    def __call__(
        self,
        posterior: Posterior,
        cost: Cost,
        *,
        relaxation_temperature: Float[Tensor, ""],  # noqa: ARG002 - the one signature
        generator: NoiseSource,
    ) -> Estimate:
        """One code a row, and the cost once."""
        mean = relax(posterior.logits, torch.tensor(self.backward_temperature), posterior.latent.kind)
        value = cost(straight_through(draw_codes(posterior, generator), mean))
        return Estimate(value.detach(), value)
