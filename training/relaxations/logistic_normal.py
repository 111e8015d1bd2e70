"""Logistic-normal: a bit relaxed by the sigmoid of a normal variable."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal

from models.manifest import Kind
from models.noise import NoiseName
from training.relaxations.binary import BinaryRelaxation
from training.relaxations.normal_odds import normal_log_odds
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
    def deviation(self) -> Float[Tensor, "B N"]:
        """s, the standard deviation of the scores at temperature 1."""
        return log_of_positive(self.parameters[..., 1]).exp()

    def log_odds_above(self, threshold: Float[Tensor, ""] | float) -> Float[Tensor, "B N"]:
        return normal_log_odds((self.mean - threshold) / self.deviation)

    def scores(
        self, noise: Float[Tensor, "..."], temperature: Float[Tensor, "..."] | float = 1.0
    ) -> Float[Tensor, "..."]:
        return self.mean + temperature * noise * self.deviation

    def score_log_density(self, scores: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Normal(u, s^2); finite while the square of (score - u) / s is."""
        return Normal(self.mean, self.deviation, validate_args=False).log_prob(scores)
