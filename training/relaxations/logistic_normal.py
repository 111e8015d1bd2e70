"""Logistic-normal: a bit relaxed by the sigmoid of a normal variable."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal

from models.manifest import Kind
from models.noise import NoiseName
from training.relaxations.binary import BinaryRelaxation
from training.relaxations.normal_odds import GREATEST, normal_log_odds
from training.relaxations.positive import log_of_positive


class LogisticNormal(BinaryRelaxation):
    """scores = u + T s normal; the parameters are u and log s, the latter bounded by `log_of_positive`.

    Aitchison and Shen 1980, "Logistic-normal distributions"; as a relaxation, Aziz 2018. The code is 1 with probability
    Phi(u / s), at any T > 0 with Phi(u / (T s)). Outputs of 0 give a fair bit with s = 1.
    """

    name: ClassVar[str] = "logistic_normal"
    num_parameters: ClassVar[int] = 2

    @classmethod
    def noise_name(cls, kind: Kind) -> NoiseName:  # noqa: ARG003 - a bit is all that it relaxes
        return "normal"

    @property
    def mean(self) -> Float[Tensor, "B N"]:
        """u, the mean of the scores."""
        return self.parameters[..., 0]

    @property
    def log_deviation(self) -> Float[Tensor, "B N"]:
        """Log s, where s is the standard deviation of the scores at temperature 1."""
        return log_of_positive(self.parameters[..., 1])

    def log_odds_above(self, threshold: Float[Tensor, ""] | float) -> Float[Tensor, "B N"]:
        return normal_log_odds((self.mean - threshold) / self.log_deviation.exp())

    def scores(
        self, noise: Float[Tensor, "..."], temperature: Float[Tensor, "..."] | float = 1.0
    ) -> Float[Tensor, "..."]:
        return self.mean + temperature * noise * self.log_deviation.exp()

    def score_log_density(self, scores: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Normal(u, s^2), with a score beyond `GREATEST` deviations from the mean taken to be there."""
        # A product: where it overflows and is clamped, the gradient of a quotient would be NaN.
        deviations = ((scores - self.mean) * (-self.log_deviation).exp()).clamp(-GREATEST, GREATEST)
        # A Normal(u, s) of torch.distributions squares before it divides, and overflows earlier.
        standard = Normal(torch.zeros_like(self.mean), torch.ones_like(self.mean), validate_args=False)
        return standard.log_prob(deviations) - self.log_deviation
