"""The log-odds that a normal variable is positive, in operations that ONNX has."""

import torch
from jaxtyping import Float
from torch import Tensor

# Coefficients of x^0, x^1, ...: Hart et al. 1968, "Computer Approximations", function 5666, as in West 2005, "Better
# approximations to cumulative normal functions".
_NUMERATOR = (
    220.206867912376,
    221.213596169931,
    112.079291497871,
    33.912866078383,
    6.37396220353165,
    0.700383064443688,
    0.0352624965998911,
)
_DENOMINATOR = (
    440.413735824752,
    793.826512519948,
    637.333633378831,
    296.564248779674,
    86.7807322029461,
    16.064177579207,
    1.75566716318264,
    0.0883883476483184,
)
GREATEST = 1e18
"""Deviations from the mean beyond which a normal law is not told apart: half the square is still finite in float32."""


def normal_log_odds(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """`log Phi(x) - log Phi(-x)`, with Phi the standard normal distribution function; about x |x| / 2 far out.

    `torch.special.log_ndtr` says the same, but exported to ONNX it is NaN from x = -15 on, since ONNX has no scaled
    complementary error function. Here log Phi(-|x|) is `-x^2 / 2` plus the logarithm of a rational function of |x|:
    exact to float64 up to |x| = 3, and beyond to 6e-9 of its value, a tenth of what float32 can tell apart. Computed
    in float64; finite and differentiable everywhere, with |x| taken for `GREATEST` where it is greater.
    """
    precise = x.double().clamp(-GREATEST, GREATEST)
    # Not abs, whose gradient at 0 is 0.
    size = torch.where(precise < 0, -precise, precise)
    log_below = -size * size / 2 + (_polynomial(_NUMERATOR, size) / _polynomial(_DENOMINATOR, size)).log()
    odds = torch.log1p(-log_below.exp()) - log_below
    return torch.where(precise < 0, -odds, odds).to(x.dtype)


def _polynomial(coefficients: tuple[float, ...], x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """By Horner's rule."""
    value = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value
