"""Stretched laws: a relaxed bit that is exactly 0 or exactly 1 with positive probability.

The relaxed value of another law is stretched from (0, 1) to (GAMMA, ZETA) and clamped to [0, 1]. HardConcrete: Louizos,
Welling and Kingma 2018, arXiv:1712.01312. HardKumaraswamy: Bastings, Aziz and Titov 2019, arXiv:1905.08160, where the
variable z itself is stretched, which is tau = 1.
"""

import math
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from training.relaxations.binary import BinaryRelaxation
from training.relaxations.binary_concrete import BinaryConcrete
from training.relaxations.kumaraswamy import Kumaraswamy
from training.relaxations.squashing import relax

GAMMA = -0.1
ZETA = 1.1
# From here on, up, the stretched value of a sigmoid is 1 or more: sigmoid(LOGIT_OF_ONE) = (1 - GAMMA) / (ZETA - GAMMA).
_LOGIT_OF_ONE = math.log(-(1 - GAMMA) / GAMMA)


class Stretched(BinaryRelaxation):
    """relaxed = clamp(gamma + (zeta - gamma) sigmoid(s / tau), 0, 1), for the scores s of another law.

    The code and its law are those of the other: since gamma + zeta = 1, the stretch is x -> 1/2 + (zeta - gamma)
    (x - 1/2), increasing and with 1/2 its fixed point, so that [relaxed > 1/2] = [sigmoid(s / tau) > 1/2] = [s > 0].

    `relaxed_logits` and `log_prob` are those of the variable before stretch and clamp, sigmoid(s / tau). The clamped
    variable has no density (0 and 1 have mass), and none is needed: clamping is a part of the decoder, and a KL between
    two laws before the clamp is a KL between latents of a model that clamps. So
    E[log p(x | relaxed)] - KL(before the clamp) bounds log p(x) of that relaxed model, from further below than the
    KL after the clamp would, because no map increases a KL.

    The gradient of `relaxed` is 0 where it is clamped.
    """

    def relaxed(
        self, scores: Float[Tensor, "..."], relaxation_temperature: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        # About 1/2, so that 1/2 stays 1/2 in any precision.
        from_centre = relax(scores, relaxation_temperature, "binary") - 0.5
        return (0.5 + (ZETA - GAMMA) * from_centre).clamp(0.0, 1.0)

    def log_prob_of_zero(self, relaxation_temperature: Float[Tensor, ""]) -> Float[Tensor, "B N"]:
        """`log P(relaxed = 0)` at temperature 1: that of a score of at most `tau log(-gamma / zeta)`."""
        return logsigmoid(-self.log_odds_above(-relaxation_temperature * _LOGIT_OF_ONE))

    def log_prob_of_one(self, relaxation_temperature: Float[Tensor, ""]) -> Float[Tensor, "B N"]:
        """`log P(relaxed = 1)` at temperature 1: that of a score of at least `-tau log(-gamma / zeta)`."""
        return logsigmoid(self.log_odds_above(relaxation_temperature * _LOGIT_OF_ONE))


class HardConcrete(Stretched, BinaryConcrete):
    """Binary Concrete, stretched."""

    name: ClassVar[str] = "hard_concrete"


class HardKumaraswamy(Stretched, Kumaraswamy):
    """Kumaraswamy, stretched."""

    name: ClassVar[str] = "hard_kumaraswamy"
