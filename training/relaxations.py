"""Continuous relaxations: differentiable points inside the simplex that round to exact samples of the discrete law.

With phi the logits, eps standard noise (Logistic for bits, Gumbel for categories), T the temperature that scales the
noise and tau the relaxation temperature that divides the perturbed logits:

    scores = phi + T eps        code = most probable of scores        relaxed = sigmoid or softmax of scores / tau

At T = 1 this is Gumbel-max for the code and Concrete / Gumbel-softmax for the relaxed value (Maddison, Mnih and Teh
2016, arXiv:1611.00712; Jang, Gu and Poole 2016, arXiv:1611.01144; Aziz 2018, equation 10). tau never changes the code.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from models.manifest import Kind


def relax(
    scores: Float[Tensor, "*batch_latent"], relaxation_temperature: Float[Tensor, "..."], kind: Kind
) -> Float[Tensor, "*batch_latent"]:
    """`sigmoid(scores / tau)`, or `softmax(scores / tau)` over the last axis.

    The greatest score of each categorical latent is subtracted before the division, not after, so that no
    temperature above 0 overflows.
    """
    if kind == "binary":
        return torch.sigmoid(scores / relaxation_temperature)
    shifted = scores - scores.amax(dim=-1, keepdim=True)
    return torch.softmax(shifted / relaxation_temperature, dim=-1)
