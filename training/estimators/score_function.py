"""REINFORCE, which needs no derivative of the cost."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from training.estimators.interface import Cost, Estimate, Estimator, check_count, draw_codes
from training.latents import LatentConfig
from training.noise import NoiseSource
from training.posteriors import Posterior


@dataclass(frozen=True, kw_only=True)
class ReinforceLeaveOneOut(Estimator):
    """The score function with the mean cost of the other samples as each one's baseline.

    Williams 1992; the baseline of Kool, van Hoof and Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!".
    Unbiased: a baseline of independent samples has no effect on the expectation. The gradient of whatever else the
    cost depends on is its mean over the samples.
    """

    name: Literal["reinforce_leave_one_out"] = "reinforce_leave_one_out"
    num_samples: int = 2

    is_unbiased: ClassVar[bool] = True
    uses_relaxation_temperature: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_count("num_samples", self.num_samples, 2, "; the baseline of a sample is the mean of the others")

    def __call__(
        self,
        posterior: Posterior,
        cost: Cost,
        *,
        relaxation_temperature: Float[Tensor, ""],  # noqa: ARG002 - the one signature
        generator: NoiseSource,
    ) -> Estimate:
        """`num_samples` codes a row, and the cost as often."""
        codes = draw_codes(posterior, generator, self.num_samples)
        costs = cost(codes)
        log_law = posterior.law().log_prob(codes).sum(dim=-1)
        # cost - mean of the others = (cost - mean of all) m / (m - 1); the m cancels against the mean over samples.
        advantage = (costs - costs.mean(dim=0)).detach() / (self.num_samples - 1)
        value = costs.mean(dim=0)
        return Estimate(value.detach(), value + (advantage * log_law).sum(dim=0))

    def num_evaluations(self, latent: LatentConfig) -> int:  # noqa: ARG002 - the one signature
        return self.num_samples
