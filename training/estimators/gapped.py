"""Gapped straight-through: the logits moved until the code is their most probable one, without noise."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from training.estimators.interface import Cost, Estimate, Estimator, check_positive, draw_codes
from training.estimators.straight_through import straight_through
from training.latents import LatentConfig
from training.noise import NoiseSource
from training.posteriors import Posterior
from training.relaxations import relax


@dataclass(frozen=True, kw_only=True)
class GappedStraightThrough(Estimator):
    """Straight-through over a softmax of logits that were moved to agree with the code, with a `gap` to spare.

    Fan, Chi, Rudnicky and Ramadge 2022, arXiv:2206.07235, section 3: the code's logit is raised to the greatest one,
    the others are lowered to at least `gap` below it, and the gradient takes the move as a constant. Given the code
    nothing is random, so the variance is below that of straight-through Gumbel at the same temperature; biased. A gap
    of 1 is the authors' GST-1.0. A bit is a variable of two categories with logits 0 and its own.
    """

    name: Literal["gapped_straight_through"] = "gapped_straight_through"
    gap: float = 1.0

    def __post_init__(self) -> None:
        check_positive("gap", self.gap)

    def __call__(
        self, posterior: Posterior, cost: Cost, *, relaxation_temperature: Float[Tensor, ""], generator: NoiseSource
    ) -> Estimate:
        """One code a row, and the cost once."""
        codes, logits = draw_codes(posterior, generator), posterior.logits
        moved = gapped_logits(posterior.latent, logits.detach(), codes, self.gap)
        relaxed = relax(logits + (moved - logits.detach()), relaxation_temperature, posterior.latent.kind)
        value = cost(straight_through(codes, relaxed))
        return Estimate(value.detach(), value)


def gapped_logits(
    latent: LatentConfig, logits: Float[Tensor, "B *latent"], codes: Float[Tensor, "B *latent"], gap: float
) -> Float[Tensor, "B *latent"]:
    """The logits, moved so that `codes` is their most probable code, ahead of every other by `gap` or more."""
    if latent.kind == "binary":
        # Of two logits the higher stays the highest: their difference, seen from the code, is at least the gap.
        side = 2 * codes - 1
        return side * (side * logits).clamp_min(gap)
    best = logits.amax(dim=-1, keepdim=True)
    return torch.where(codes > 0, best, torch.minimum(logits, best - gap))
