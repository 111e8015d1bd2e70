"""From perturbed scores to the interior of the simplex: what every relaxation does last.

Maddison, Mnih and Teh 2016, arXiv:1611.00712; Jang, Gu and Poole 2016, arXiv:1611.01144; Aziz 2018, equation 10.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from models.manifest import Kind
from training.latents import below_greatest


def relax(
    scores: Float[Tensor, "*batch_latent"], relaxation_temperature: Float[Tensor, "..."], kind: Kind
) -> Float[Tensor, "*batch_latent"]:
    """`sigmoid(scores / tau)`, or `softmax(scores / tau)` over the last axis.

    The greatest score of each categorical latent is subtracted before the division, not after, so that no
    temperature above 0 overflows.
    """
    if kind == "binary":
        return torch.sigmoid(scores / relaxation_temperature)
    # Not written out, although that is faster where few categories are learned on a CPU: this is also what is exported,
    # and ONNX Runtime's Softmax gives a row the same bits in a batch of any size, which its sums do not.
    return torch.softmax(below_greatest(scores) / relaxation_temperature, dim=-1)


def saturated(values: Float[Tensor, "*batch_latent"]) -> Float[Tensor, "*batch_latent"]:
    """Infinities, from a division by a tiny temperature, as the greatest and least finite number of the dtype."""
    limits = torch.finfo(values.dtype)
    return values.clamp(limits.min, limits.max)
