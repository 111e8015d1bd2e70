"""Positive parameters out of unconstrained encoder outputs."""

import torch
from jaxtyping import Float
from torch import Tensor

LIMIT = 3.0


def log_of_positive(outputs: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The logarithm of a parameter between e^-3 and e^3 (0.05 and 20): `3 tanh(outputs / 3)`, the identity near 0.

    An output of 0 stands for a parameter of 1. The bounds keep scores finite in float32 at every temperature up to
    1e30, and the smooth approach leaves a gradient that brings a parameter back from them.
    """
    return LIMIT * torch.tanh(outputs / LIMIT)
