"""The figure of the bias of straight-through gradients: expectations of estimators beside the exact gradient.

One bit with logit phi, and the gradient of E[cost(bit)] in phi. Where an estimator knows the law of the code alone, its
expectation is a sum over both codes; where it follows the relaxed value, an integral over one noise variable.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from panels import TRUTH, Figure, Panel, Series
from torch import Tensor

from models.noise import NoiseName, logistic_quantile
from training import enumeration
from training.estimators import Estimator, ReinMax, StraightThrough, StraightThroughGumbel
from training.latents import LatentConfig
from training.noise import NoiseTape
from training.relaxations import BinaryConcrete

BIT = LatentConfig(kind="binary", num_latents=1)
NUM_POINTS = 2000
"""Of the midpoint rule for integrals over noise."""
FAR = 50.0
"""Noise that decides the bit whatever its logit."""

COSTS: dict[str, Callable[[Tensor], Tensor]] = {
    "a linear cost: b": lambda bit: bit[..., 0],
    "a quadratic cost: (b - 0.45)²": lambda bit: (bit[..., 0] - 0.45) ** 2,
    "a cubic cost: (b - 0.3)³": lambda bit: (bit[..., 0] - 0.3) ** 3,
}


class GivenNoise(NoiseTape):
    """Noise [points] for as many rows."""

    def __init__(self, values: Tensor) -> None:
        self._values = values

    def take(self, noise: NoiseName, shape: Sequence[int]) -> Tensor:  # noqa: ARG002 - a bit's is logistic
        return self._values.reshape(shape)


def straight_through_bias() -> Figure:
    """Three costs, and by the probability of the bit what each estimator expects its gradient to be."""
    phis = torch.linspace(-4, 4, 41, dtype=torch.float64)
    probabilities = phis.sigmoid().tolist()
    contenders: list[tuple[str, Callable[[Callable[[Tensor], Tensor], Tensor], float], int]] = [
        ("exact", exact, TRUTH),
        ("straight-through", lambda cost, phi: summed(StraightThrough(), cost, phi), 0),
        ("ReinMax, tau 1", lambda cost, phi: summed(ReinMax(), cost, phi), 2),
        ("straight-through Gumbel, tau 1", lambda cost, phi: integrated(StraightThroughGumbel(), cost, phi, 1.0), 1),
        ("the same, tau 0.3", lambda cost, phi: integrated(StraightThroughGumbel(), cost, phi, 0.3), 3),
    ]
    panels = []
    for title, cost in COSTS.items():
        series = [
            Series(probabilities, [expected(cost, phi) for phi in phis], label, colour, "--" if colour == 2 else "-")
            for label, expected, colour in contenders
        ]
        panels.append(Panel(title, series, "P(bit = 1)", "expected gradient in phi"))
    # One legend is enough.
    unlabelled = [panel._replace(series=[each._replace(label="") for each in panel.series]) for panel in panels[1:]]
    return Figure("straight-through-bias", [panels[0], *unlabelled])


def exact(cost: Callable[[Tensor], Tensor], phi: Tensor) -> float:
    """By enumeration of both codes."""
    logits = phi.reshape(1, 1).clone().requires_grad_()
    enumeration.expectation(cost, logits, BIT).sum().backward()
    return float(logits.grad)


def summed(estimator: Estimator, cost: Callable[[Tensor], Tensor], phi: Tensor) -> float:
    """The estimator's gradient at each code, weighted with the code's probability."""
    assert not estimator.follows_relaxation
    at_zero_and_one = _gradients(estimator, cost, phi, torch.tensor([-FAR, FAR]), 1.0)
    return float(at_zero_and_one @ torch.stack([(-phi).sigmoid(), phi.sigmoid()]))


def integrated(estimator: Estimator, cost: Callable[[Tensor], Tensor], phi: Tensor, tau: float) -> float:
    """The mean of the estimator's gradient over equally probable noise."""
    uniform = (np.arange(NUM_POINTS) + 0.5) / NUM_POINTS
    return float(_gradients(estimator, cost, phi, torch.from_numpy(logistic_quantile(uniform)), tau).mean())


def _gradients(
    estimator: Estimator, cost: Callable[[Tensor], Tensor], phi: Tensor, epsilon: Tensor, tau: float
) -> Tensor:
    """One a value of noise."""
    logits = phi.repeat(len(epsilon)).reshape(-1, 1).requires_grad_()
    estimate = estimator(
        BinaryConcrete(logits, BIT),
        cost,
        relaxation_temperature=torch.tensor(tau, dtype=torch.float64),
        generator=GivenNoise(epsilon),
    )
    estimate.surrogate.sum().backward()
    assert logits.grad is not None
    return logits.grad[:, 0]
