"""Estimators that follow the relaxed value: soft all the way, or backward only."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from training.estimators.interface import Cost, Estimate, Estimator, check_positive
from training.estimators.straight_through import straight_through
from training.noise import NoiseSource
from training.posteriors import Posterior


def draw_scores(posterior: Posterior, generator: NoiseSource) -> Float[Tensor, "B *latent"]:
    """Perturbed scores, differentiable in the posterior's parameters, in float32 at least."""
    return posterior.scores(posterior.draw_noise(generator))


@dataclass(frozen=True, kw_only=True)
class Pathwise(Estimator):
    """The pathwise gradient at the relaxed value, which takes the code's place: soft from end to end.

    Concrete and Gumbel-softmax (Maddison, Mnih and Teh 2016, arXiv:1611.00712; Jang, Gu and Poole 2016,
    arXiv:1611.01144), and the same for any other relaxation of the posterior. Unbiased for the expectation of the
    cost over *relaxed* values, biased for that over codes, less so the lower the temperature, with a variance that
    grows as it falls.
    """

    name: Literal["pathwise"] = "pathwise"

    is_discrete: ClassVar[bool] = False
    follows_relaxation: ClassVar[bool] = True

    def __call__(
        self, posterior: Posterior, cost: Cost, *, relaxation_temperature: Float[Tensor, ""], generator: NoiseSource
    ) -> Estimate:
        """One relaxed value a row, and the cost once."""
        relaxed = posterior.relaxed(draw_scores(posterior, generator), relaxation_temperature)
        value = cost(relaxed.to(posterior.parameters.dtype))
        return Estimate(value.detach(), value)


@dataclass(frozen=True, kw_only=True)
class StraightThroughGumbel(Estimator):
    """Straight-through over the relaxed value of the *same* noise that made the code.

    Jang, Gu and Poole 2016, arXiv:1611.01144, section 2.2; the same for any other relaxation of the posterior, in
    spite of the name. The code is an exact sample; the gradient is that of the relaxed value and is biased, for
    linear costs too: for them, less so the lower the temperature. Bits take Logistic noise, categories Gumbel noise.
    """

    name: Literal["straight_through_gumbel"] = "straight_through_gumbel"

    follows_relaxation: ClassVar[bool] = True

    def __call__(
        self, posterior: Posterior, cost: Cost, *, relaxation_temperature: Float[Tensor, ""], generator: NoiseSource
    ) -> Estimate:
        """One code a row, and the cost once."""
        return _straight_through_relaxed(posterior, cost, relaxation_temperature, generator)


@dataclass(frozen=True, kw_only=True)
class DecoupledStraightThroughGumbel(Estimator):
    """Straight-through over the relaxed value, with a temperature of its own going backward.

    Shah, Yan, Mozer and Liu 2024, arXiv:2410.13331. Their forward temperature divides the logits *before* the noise is
    added, `argmax(logits / tau_f + gumbel)`, and so changes the law that is sampled; in this project that is the
    `temperature` of a request. In training it stays 1, so that codes are exact samples of q and the KL in closed form
    is theirs: an encoder reaches any forward temperature by the scale of its logits. What is decoupled here is the
    rest: the scheduled relaxation temperature stays that of relaxed values wherever they are measured, exported and
    served, and `backward_temperature` alone shapes the gradient.
    """

    name: Literal["decoupled_straight_through_gumbel"] = "decoupled_straight_through_gumbel"
    backward_temperature: float = 2.0

    follows_relaxation: ClassVar[bool] = True
    uses_relaxation_temperature: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive("backward_temperature", self.backward_temperature)

    def __call__(
        self,
        posterior: Posterior,
        cost: Cost,
        *,
        relaxation_temperature: Float[Tensor, ""],  # noqa: ARG002 - the one signature
        generator: NoiseSource,
    ) -> Estimate:
        """One code a row, and the cost once."""
        return _straight_through_relaxed(posterior, cost, torch.tensor(self.backward_temperature), generator)


def _straight_through_relaxed(
    posterior: Posterior, cost: Cost, relaxation_temperature: Float[Tensor, ""], generator: NoiseSource
) -> Estimate:
    scores, dtype = draw_scores(posterior, generator), posterior.parameters.dtype
    codes = posterior.latent.most_probable(scores.detach())
    relaxed = posterior.relaxed(scores, relaxation_temperature)
    value = cost(straight_through(codes.to(dtype), relaxed.to(dtype)))
    return Estimate(value.detach(), value)
