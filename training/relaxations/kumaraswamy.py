"""Kumaraswamy: a bit relaxed by a variable on the unit interval whose quantile function is two powers."""

from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import logsigmoid

from models.manifest import Kind
from models.noise import NoiseName
from training.relaxations.binary import BinaryRelaxation
from training.relaxations.positive import log_of_positive
from training.relaxations.powers import logit_of_power


class Kumaraswamy(BinaryRelaxation):
    """scores = logit z with z = (1 - (1 - v)^(1/b))^(1/a), v = sigmoid(T logistic); the parameters are log a, log b.

    Kumaraswamy 1980, "A generalized probability density function for double-bounded random processes": z has
    distribution function F(z) = 1 - (1 - z^a)^b on the unit interval. Both logarithms are bounded by
    `log_of_positive`, so a and b lie between e^-3 and e^3; outputs of 0 give a = b = 1, a uniform z and a fair bit.

    The code is [z > 1/2] = [v > F(1/2)], so 1 with probability (1 - 2^-a)^b, and at any T > 0 with log-odds
    logits / T, like a binary Concrete bit. At T = 0 z is its median, which is above 1/2 just where
    P(z > 1/2) > 1/2: the code is the most probable one.

    Everything is computed from logit to logit (`powers`), in float64, so that neither 1 - v nor 1 - z is ever formed;
    results have the dtype of what came in. Scores are about logistic T / b far above 0, and logistic T / a far below.
    """

    name: ClassVar[str] = "kumaraswamy"
    num_parameters: ClassVar[int] = 2

    @classmethod
    def noise_name(cls, kind: Kind) -> NoiseName:  # noqa: ARG003 - a bit is all that it relaxes
        return "logistic"

    @property
    def log_shapes(self) -> tuple[Float64[Tensor, "B N"], Float64[Tensor, "B N"]]:
        """`log a, log b`."""
        log_a, log_b = log_of_positive(self.parameters.double()).unbind(dim=-1)
        return log_a, log_b

    def log_odds_above(self, threshold: Float[Tensor, ""] | float) -> Float[Tensor, "B N"]:
        """Of `P(z > x) = (1 - x^a)^b` at x = sigmoid(threshold)."""
        log_a, log_b = self.log_shapes
        log_odds_of_x = torch.zeros_like(log_a) + threshold
        return logit_of_power(-logit_of_power(log_odds_of_x, log_a), log_b).to(self.parameters.dtype)

    def scores(
        self, noise: Float[Tensor, "..."], temperature: Float[Tensor, "..."] | float = 1.0
    ) -> Float[Tensor, "..."]:
        log_a, log_b = self.log_shapes
        logit_of_v = temperature * noise.double()
        scores = logit_of_power(-logit_of_power(-logit_of_v, -log_b), -log_a)
        return scores.to(torch.promote_types(self.parameters.dtype, noise.dtype))

    def score_log_density(self, scores: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """`log a + log b + a log z + log(1 - z) + (b - 1) log(1 - z^a)`: the density of z times z (1 - z)."""
        log_a, log_b = self.log_shapes
        precise = scores.double()
        log_density = (
            log_a
            + log_b
            + log_a.exp() * logsigmoid(precise)
            + logsigmoid(-precise)
            + log_b.expm1() * logsigmoid(-logit_of_power(precise, log_a))
        )
        return log_density.to(scores.dtype)
