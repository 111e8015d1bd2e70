"""ARM and DisARM: unbiased gradients for bits from pairs of codes that share their noise with opposite signs."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from models.manifest import Kind
from training import noise
from training.estimators.interface import Cost, Estimate, Estimator, check_count
from training.latents import LatentConfig
from training.noise import NoiseSource
from training.posteriors import Posterior


@dataclass(frozen=True, kw_only=True)
class _Antithetic(Estimator):
    """From Logistic noise e: the codes `[logit + e > 0]` and `[logit - e > 0]`, both exact samples.

    The gradient with respect to the logits is half the difference of the two costs times a weight a bit. That of
    whatever else the cost depends on is its mean over both codes and all pairs.
    """

    num_pairs: int = 1

    kinds: ClassVar[tuple[Kind, ...]] = ("binary",)
    is_unbiased: ClassVar[bool] = True
    uses_relaxation_temperature: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_count("num_pairs", self.num_pairs, 1)

    @abstractmethod
    def _weights(
        self, logits: Float[Tensor, "B N"], standard: Float[Tensor, "S B N"], codes: Float[Tensor, "2 S B N"]
    ) -> Float[Tensor, "S B N"]:
        """What half the difference of the costs is multiplied by."""

    def __call__(
        self,
        posterior: Posterior,
        cost: Cost,
        *,
        relaxation_temperature: Float[Tensor, ""],  # noqa: ARG002 - the one signature
        generator: NoiseSource,
    ) -> Estimate:
        """`num_pairs` pairs of codes a row, and the cost twice as often."""
        logits = posterior.logits
        fixed = logits.detach()
        standard = noise.draw("logistic", (self.num_pairs, *logits.shape), generator)
        codes = (torch.stack([fixed + standard, fixed - standard]) > 0).to(logits.dtype)
        costs = cost(codes)
        half_difference = ((costs[0] - costs[1]) / 2).detach()
        weights = self._weights(fixed, standard, codes).to(logits.dtype)
        value = costs.mean(dim=(0, 1))
        return Estimate(value.detach(), value + (half_difference * (weights * logits).sum(dim=-1)).mean(dim=0))

    def num_evaluations(self, latent: LatentConfig) -> int:  # noqa: ARG002 - the one signature
        return 2 * self.num_pairs


@dataclass(frozen=True, kw_only=True)
class Arm(_Antithetic):
    """Augment-REINFORCE-merge (Yin and Zhou 2019, arXiv:1807.11143, theorem 1), averaged over `num_pairs` pairs.

    With u = sigmoid(e) uniform, the gradient is E[(cost of the one - cost of the other) (u - 1/2)]. Unbiased.
    """

    name: Literal["arm"] = "arm"

    def _weights(
        self,
        logits: Float[Tensor, "B N"],  # noqa: ARG002 - another method's
        standard: Float[Tensor, "S B N"],
        codes: Float[Tensor, "2 S B N"],  # noqa: ARG002
    ) -> Float[Tensor, "S B N"]:
        return 2 * torch.sigmoid(standard) - 1


@dataclass(frozen=True, kw_only=True)
class DisArm(_Antithetic):
    """ARM with the uniform averaged out given the pair of codes: never more variance (Dong, Mnih and Tucker 2020).

    arXiv:2006.10680, equation 8; also Yin, Ho, Yan, Qian and Zhou 2020 as U2G. Bits that agree in both codes get
    nothing; others `sigmoid(|logit|)` with the sign of their difference. Unbiased.
    """

    name: Literal["disarm"] = "disarm"

    def _weights(
        self,
        logits: Float[Tensor, "B N"],
        standard: Float[Tensor, "S B N"],  # noqa: ARG002 - another method's
        codes: Float[Tensor, "2 S B N"],
    ) -> Float[Tensor, "S B N"]:
        return (codes[0] - codes[1]) * torch.sigmoid(logits.abs())
