"""What the relaxations of Bernoulli bits share: a score on the real line, whose sign is the code."""

from abc import abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from models.manifest import Kind
from training.posteriors import Posterior
from training.relaxations.squashing import relax, saturated


class BinaryRelaxation(Posterior):
    """A law of scores s on the real line, with relaxed = sigmoid(s / tau) and code = [s > 0]."""

    kinds: ClassVar[tuple[Kind, ...]] = ("binary",)

    @abstractmethod
    def log_odds_above(self, threshold: Float[Tensor, ""] | float) -> Float[Tensor, "B N"]:
        """`log P(s > threshold) - log P(s <= threshold)` at temperature 1: the law of scores in closed form."""

    @abstractmethod
    def score_log_density(self, scores: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Log-density of scores [..., B, N] at temperature 1."""

    @property
    def logits(self) -> Float[Tensor, "B N"]:
        return self.log_odds_above(0.0)

    def relaxed(
        self, scores: Float[Tensor, "..."], relaxation_temperature: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        return relax(scores, relaxation_temperature, "binary")

    def relaxed_logits(
        self, scores: Float[Tensor, "..."], relaxation_temperature: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """`scores / tau`, saturated at the greatest finite number."""
        return saturated(scores / relaxation_temperature)

    def log_prob(
        self, relaxed_logits: Float[Tensor, "..."], relaxation_temperature: Float[Tensor, ""]
    ) -> Float[Tensor, "..."]:
        """`log f(tau y) + log tau` with f the density of scores: y = s / tau is a change of scale."""
        return self.score_log_density(relaxation_temperature * relaxed_logits) + relaxation_temperature.log()
