"""Standard noise for training, drawn in float32 whatever the model's dtype.

Low-precision uniforms are 0 often enough to matter (2 in 1000 in bfloat16), and then the noise is infinite; worse,
they cannot reach the tails, so rare categories are never drawn. Training draws from a `torch.Generator` on the
model's device; the noise of served codes is keyed by seed and row instead (`models.noise`).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from models.noise import NoiseName

_TINY = torch.finfo(torch.float32).tiny
# torch.rand gives multiples of 2^-24, 0 among them, which stands for the interval up to 2^-24: take its middle.
_HALF_CELL = 2.0**-25


def draw(noise: NoiseName, shape: Sequence[int], generator: torch.Generator) -> Float[Tensor, "..."]:
    """Independent noise of that name, location 0 and scale 1, in float32 on the generator's device; always finite."""
    if noise == "normal":
        return torch.randn(*shape, device=generator.device, dtype=torch.float32, generator=generator)
    if noise == "gumbel":
        # An exponential variable is -log of a uniform without ever forming the uniform: right in both tails.
        waiting = torch.empty(*shape, dtype=torch.float32, device=generator.device).exponential_(generator=generator)
        return -waiting.clamp_min(_TINY).log()
    uniform = torch.rand(*shape, dtype=torch.float32, device=generator.device, generator=generator)
    return torch.logit(uniform.clamp_min(_HALF_CELL))
