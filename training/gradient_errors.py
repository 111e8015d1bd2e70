"""How far draws of a gradient are from the exact one: bias, variance and direction, each with a confidence interval.

Everything here is made of inner products. Those of gradients with respect to weights behind the drawn quantity are
inner products in a metric: with J the Jacobian of what was drawn by the weights, (J'u) . (J'v) = u' (J J') v, so that
no gradient of the size of the weights is ever kept. Shapes: S draws, L values of a gradient.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from training.errors import EvaluationError

NUM_GROUPS = 20
"""Draws are cut into this many groups of equal size; intervals come from leaving one out at a time."""
_STUDENT_975 = 2.093024  # the 97.5 % quantile of Student's t with NUM_GROUPS - 1 degrees of freedom


class Interval(NamedTuple):
    """An estimate and a 95 % confidence interval around it."""

    value: float
    low: float
    high: float


class GradientErrors(NamedTuple):
    """Errors of an estimator g of the gradient e; all but the norm and the cosine are divided by |e|^2.

    Squared bias, |E g - e|^2, is estimated without the noise floor of a mean of finitely many draws, so it can come
    out below 0 where there is no bias to be seen. Variance is E |g - E g|^2 of a single draw, and the mean squared
    error, E |g - e|^2, is the sum of both. The cosine is that between E g and e, and NaN where E g cannot be told
    from 0.
    """

    exact_norm: float
    squared_bias: Interval
    variance: Interval
    mean_squared_error: Interval
    cosine: Interval


def gradient_errors(
    draws: Float[Tensor, "S L"], exact: Float[Tensor, " L"], metric: Float[Tensor, "L L"] | None = None
) -> GradientErrors:
    """Errors of independent draws of a gradient, in `metric` (None: the plain inner product), in float64.

    Squared bias, variance and mean squared error are unbiased: only means of different groups are multiplied with each
    other. Intervals are delete-one-group jackknives over
    `NUM_GROUPS` groups with Student's t. Raises EvaluationError when the draws do not make groups of equal size.
    """
    check_num_draws(len(draws))
    draws, exact = draws.double(), exact.double()
    lowered = draws if metric is None else draws @ metric.double()
    exact_lowered = exact if metric is None else metric.double() @ exact
    grouped = draws.unflatten(0, (NUM_GROUPS, -1)).mean(dim=1)
    sums = _Sums(
        products=grouped @ lowered.unflatten(0, (NUM_GROUPS, -1)).mean(dim=1).T,
        along=grouped @ exact_lowered,
        squares=(draws * lowered).sum(dim=1).unflatten(0, (NUM_GROUPS, -1)).mean(dim=1),
        exact_square=exact @ exact_lowered,
    )
    return GradientErrors(float(sums.exact_square.clamp_min(0).sqrt()), *_intervals(sums))


def check_num_draws(num_draws: int) -> None:
    """Raises EvaluationError when so many draws do not make `NUM_GROUPS` groups of equal size."""
    if num_draws < NUM_GROUPS or num_draws % NUM_GROUPS:
        raise EvaluationError(f"num_draws: expected a multiple of {NUM_GROUPS} and at least that, got {num_draws}")


class _Sums(NamedTuple):
    """Inner products of the means of groups with each other and with the exact gradient; mean squares of draws."""

    products: Float[Tensor, "G G"]
    along: Float[Tensor, " G"]
    squares: Float[Tensor, " G"]
    exact_square: Float[Tensor, ""]


def _intervals(sums: _Sums) -> list[Interval]:
    """Of squared bias, variance, mean squared error and cosine."""
    size = NUM_GROUPS
    total, trace = sums.products.sum(), sums.products.trace()
    diagonal, rows = sums.products.diagonal(), sums.products.sum(dim=1)
    whole = _statistics(
        # Groups are independent of each other, and none of itself.
        mean_square=(total - trace) / (size * (size - 1)),
        along=sums.along.mean(),
        second_moment=sums.squares.mean(),
        exact_square=sums.exact_square,
    )
    without_each = _statistics(
        mean_square=(total - 2 * rows - trace + 2 * diagonal) / ((size - 1) * (size - 2)),
        along=(sums.along.sum() - sums.along) / (size - 1),
        second_moment=(sums.squares.sum() - sums.squares) / (size - 1),
        exact_square=sums.exact_square,
    )
    spread = (without_each - without_each.mean(dim=1, keepdim=True)).square().sum(dim=1)
    half = _STUDENT_975 * ((size - 1) / size * spread).sqrt()
    return [
        Interval(float(value), float(value - width), float(value + width))
        for value, width in zip(whole, half, strict=True)
    ]


def _statistics(
    *,
    mean_square: Float[Tensor, "..."],
    along: Float[Tensor, "..."],
    second_moment: Float[Tensor, "..."],
    exact_square: Float[Tensor, ""],
) -> Float[Tensor, "..."]:
    """Squared bias, variance, mean squared error, cosine: [4] or [4, G].

    From |E g|^2, E g . e, E |g|^2 and |e|^2.
    """
    cosine = (along / (mean_square.clamp_min(0) * exact_square).sqrt()).clamp(-1, 1)
    return torch.stack(
        [
            (mean_square - 2 * along + exact_square) / exact_square,
            (second_moment - mean_square) / exact_square,
            (second_moment - 2 * along + exact_square) / exact_square,
            torch.where(mean_square > 0, cosine, torch.nan),
        ]
    )
