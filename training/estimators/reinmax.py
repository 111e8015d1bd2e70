"""ReinMax: straight-through of second order."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from models.manifest import Kind
from training.estimators.interface import Cost, Estimate, Estimator, draw_codes
from training.estimators.straight_through import straight_through
from training.noise import NoiseSource
from training.posteriors import Posterior
from training.relaxations import relax


@dataclass(frozen=True, kw_only=True)
class ReinMax(Estimator):
    """Heun's rule where straight-through is Euler's.

    Liu, Dong, Liu, Yu and Gao 2023, arXiv:2304.08612, algorithm 2: with `mean` the code's law and `middle` half way
    from `softmax(logits / tau)` to the code, the gradient at the code is multiplied by twice the Jacobian of a softmax
    whose value is `middle`, less half that of one whose value is `mean`. At tau = 1 exact in expectation for a cost
    that is quadratic in each latent, whatever the others are; biased otherwise, and at other temperatures for linear
    costs too. Temperatures below 1 are refused, as the authors do. A bit is a variable of two categories of which the
    cost sees one, in a form of its own.
    """

    name: Literal["reinmax"] = "reinmax"

    minimum_temperature: ClassVar[float] = 1.0

    def __call__(
        self, posterior: Posterior, cost: Cost, *, relaxation_temperature: Float[Tensor, ""], generator: NoiseSource
    ) -> Estimate:
        """One code a row, and the cost once."""
        codes = draw_codes(posterior, generator)
        path = _path(posterior.logits, codes, relaxation_temperature, posterior.latent.kind)
        value = cost(straight_through(codes, path))
        return Estimate(value.detach(), value)


def _path(
    logits: Float[Tensor, "B *latent"], codes: Float[Tensor, "B *latent"], tau: Float[Tensor, ""], kind: Kind
) -> Float[Tensor, "B *latent"]:
    """A linear function of the logits whose Jacobian is ReinMax's. Its value means nothing."""
    fixed = logits.detach()
    middle = (codes + relax(fixed, tau, kind)) / 2
    if kind == "binary":
        mean = torch.sigmoid(fixed)
        return (2 * middle * (1 - middle) - mean * (1 - mean) / 2) * logits
    return 2 * _softmax_tangent(middle, logits) - _softmax_tangent(torch.softmax(fixed, dim=-1), logits) / 2


def _softmax_tangent(value: Float[Tensor, "B N K"], logits: Float[Tensor, "B N K"]) -> Float[Tensor, "B N K"]:
    """`(diag(value) - value value^T) logits`: linear, with the Jacobian of a softmax whose value is `value`."""
    return value * (logits - (value * logits).sum(dim=-1, keepdim=True))
