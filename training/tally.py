"""Sums for the log, added up where the step is computed."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor


@torch.no_grad()
def accumulate(count: Float64[Tensor, "*R 1"], sums: Float64[Tensor, "*R T"], means: Float[Tensor, "*R T"]) -> None:
    """Add the means of one step to the sums, in place, and count the step where all sums are finite.

    What comes after the first bad step is not added: it would only say how far it has spread.
    """
    sums += torch.where(torch.isfinite(sums).all(dim=-1, keepdim=True), means.double(), 0)
    count += torch.isfinite(sums).all(dim=-1, keepdim=True)
