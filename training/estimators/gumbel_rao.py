"""Straight-through Gumbel with the noise averaged out, given the code."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from training import noise
from training.estimators.interface import Cost, Estimate, Estimator, check_count, draw_codes
from training.estimators.straight_through import straight_through
from training.latents import LatentConfig
from training.noise import NoiseSource
from training.posteriors import Posterior
from training.relaxations import relax


@dataclass(frozen=True, kw_only=True)
class GumbelRao(Estimator):
    """Straight-through over the Concrete value, averaged over `num_monte_carlo` draws of the noise given the code.

    Paulus, Maddison and Krause 2021, arXiv:2010.04838, equation 9. By the law of total variance the same bias as
    straight-through Gumbel and never more variance; with one draw it *is* straight-through Gumbel, in law. The cost
    is evaluated once, whatever the number of draws. For bits the noise is Logistic, and the perturbed logit given the
    bit a truncated Logistic. The Concrete value here is that of the code's logits, whichever relaxation gave them.
    """

    name: Literal["gumbel_rao"] = "gumbel_rao"
    num_monte_carlo: int = 10

    def __post_init__(self) -> None:
        check_count("num_monte_carlo", self.num_monte_carlo, 1)

    def __call__(
        self, posterior: Posterior, cost: Cost, *, relaxation_temperature: Float[Tensor, ""], generator: NoiseSource
    ) -> Estimate:
        """One code a row, and the cost once."""
        latent, logits = posterior.latent, posterior.logits
        codes = draw_codes(posterior, generator)
        scores = conditional_scores(latent, logits.detach(), codes, self.num_monte_carlo, generator)
        # The noise is what was drawn: the gradient takes it as given, and goes through the logits alone.
        perturbed = logits + (scores - logits.detach())
        relaxed = relax(perturbed, relaxation_temperature, latent.kind).mean(dim=0).to(logits.dtype)
        value = cost(straight_through(codes, relaxed))
        return Estimate(value.detach(), value)


def conditional_scores(
    latent: LatentConfig,
    logits: Float[Tensor, "*batch_latent"],
    codes: Float[Tensor, "*batch_latent"],
    num_samples: int,
    generator: NoiseSource,
) -> Float[Tensor, "S *batch_latent"]:
    """Logits plus standard noise, drawn given that their most probable code is `codes`; float32 at least.

    Categories (Maddison, Tarlow and Minka 2014, arXiv:1411.0030, section 4): with normalised logits and Gumbel noise
    g, the score of the code is its own g, and that of any other category the soft minimum
    `-log(exp(-(logit + g)) + exp(-g_code))`, which is below.

    Bits: given a bit of 1 the score s > 0 has P(s > t) = sigmoid(logit - t) / sigmoid(logit); solving for t with a
    uniform u in its place gives `softplus(logit + log(1 - u)) - log u`. A bit of 0 is the mirror image.
    """
    standard = noise.draw(latent.noise, (num_samples, *logits.shape), generator)
    if latent.kind == "binary":
        side = 2 * codes - 1
        # For Logistic noise e = logit(u): log u = -softplus(-e), log(1 - u) = -softplus(e).
        return side * (F.softplus(side * logits - F.softplus(standard)) + F.softplus(-standard))
    others = F.log_softmax(logits, dim=-1) + standard
    best = (standard * codes).sum(dim=-1, keepdim=True)
    return torch.where(codes > 0, best, -torch.logaddexp(-others, -best))
