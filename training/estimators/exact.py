"""The gradient itself, where codes are few enough to visit them all."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from training import enumeration
from training.estimators.interface import Cost, Estimate, Estimator
from training.latents import LatentConfig
from training.noise import NoiseSource
from training.posteriors import Posterior


@dataclass(frozen=True, kw_only=True)
class Exact(Estimator):
    """E_q[cost(code)] summed over every code, and its gradient: no variance, no bias, no randomness.

    For at most `enumeration.MAX_CODES` codes. Each is handed to the cost once for all rows.
    """

    name: Literal["exact"] = "exact"

    is_unbiased: ClassVar[bool] = True
    uses_relaxation_temperature: ClassVar[bool] = False

    def __call__(
        self,
        posterior: Posterior,
        cost: Cost,
        *,
        relaxation_temperature: Float[Tensor, ""],  # noqa: ARG002 - the one signature
        generator: NoiseSource,  # noqa: ARG002
    ) -> Estimate:
        """Every code, once."""
        value = enumeration.expectation(cost, posterior.logits, posterior.latent)
        return Estimate(value.detach(), value)

    def num_evaluations(self, latent: LatentConfig) -> int:
        return enumeration.num_codes(latent)

    def check_latent(self, latent: LatentConfig) -> None:
        """Raises ConfigError when there are too many codes."""
        enumeration.check_enumerable(latent)
