"""A masked network: all conditionals of a sequence of variables in one pass.

Germain, Gregor, Murray and Larochelle 2015, arXiv:1502.03509, in the natural order of the variables and with one mask:
neither order-agnostic nor connectivity-agnostic training. V numbers a variable is given as and is predicted by.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class MaskedLinear(nn.Linear):
    """A linear layer without the connections that `mask` [out, in] forbids."""

    def __init__(self, mask: Bool[Tensor, "out in"]) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        # A function of the widths: no part of a checkpoint.
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)

    def forward(self, inputs: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        return F.linear(inputs, self.weight * self.mask, self.bias)


class Made(nn.Module):
    """Numbers [..., N V] to numbers [..., N V], of which those of variable n depend on the variables before n alone.

    Each unit has a degree d: it may depend on variables 1 to d. Inputs of variable n have degree n, hidden units
    degrees spread evenly over 1 to N - 1 (the paper draws them), and an output of variable n may use hidden units of
    degree below n. The last layer starts at zero, so that every conditional starts uniform.
    """

    def __init__(self, num_variables: int, numbers_per_variable: int, hidden: Sequence[int]) -> None:
        """Raises ValueError when a hidden layer is too narrow for a unit of every degree."""
        super().__init__()
        num_degrees = max(1, num_variables - 1)
        if not hidden or min(hidden) < num_degrees:
            raise ValueError(
                f"hidden: expected one or more widths of at least {num_degrees}, the number of latents less one, "
                f"so that a latent can depend on each latent before it, got {list(hidden)}"
            )
        variables = torch.arange(1, num_variables + 1).repeat_interleave(numbers_per_variable)
        degrees = [variables, *(_spread(width, num_degrees) for width in hidden)]
        layers: list[nn.Module] = []
        for before, after in pairwise(degrees):
            layers += [MaskedLinear(after[:, None] >= before[None, :]), nn.ReLU()]
        last = MaskedLinear(variables[:, None] > degrees[-1][None, :])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, numbers: Float[Tensor, "*batch NV"]) -> Float[Tensor, "*batch NV"]:
        return self.layers(numbers)


def _spread(width: int, num_degrees: int) -> Int[Tensor, " width"]:
    """Degrees 1 to `num_degrees`, rising, each as often as any other to within one."""
    return 1 + torch.arange(width) * num_degrees // width
