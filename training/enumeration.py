"""Every code of a small latent space: the exact answers that estimates are held against.

Shapes as in `training.latents`; C codes. Codes are visited in lexicographic order, the first latent slowest, in chunks
of a bounded size.
"""

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from training.errors import ConfigError
from training.latents import LatentConfig

MAX_CODES = 65_536
"""Beyond this, enumeration is refused."""
CHUNK_SIZE = 4_096
"""Codes visited at a time."""


def num_codes(latent: LatentConfig) -> int:
    """K^N, exactly."""
    return latent.num_categories**latent.num_latents


def is_enumerable(latent: LatentConfig) -> bool:
    """Whether there are at most `MAX_CODES` codes."""
    return num_codes(latent) <= MAX_CODES


def check_enumerable(latent: LatentConfig) -> None:
    """Raises ConfigError, saying how many latents would do, when there are more than `MAX_CODES` codes."""
    if not is_enumerable(latent):
        most = int(math.log(MAX_CODES) / math.log(latent.num_categories) + 1e-9)
        raise ConfigError(
            f"latent.num_latents: {latent.num_latents} latents of {latent.num_categories} values have "
            f"{latent.num_categories}^{latent.num_latents} codes, and at most {MAX_CODES:,} can be enumerated: "
            f"that is {most} latents of {latent.num_categories} values"
        )


def code_chunks(
    latent: LatentConfig, *, chunk_size: int = CHUNK_SIZE, like: Tensor
) -> Iterator[Float[Tensor, "C *latent"]]:
    """Every code once, as tensors of the dtype and on the device of `like`. Raises ConfigError as above."""
    check_enumerable(latent)
    places = latent.num_categories ** torch.arange(latent.num_latents - 1, -1, -1, device=like.device)
    for numbers in torch.arange(num_codes(latent), device=like.device).split(chunk_size):
        indices = numbers.unsqueeze(1) // places % latent.num_categories
        yield latent.from_indices(indices).to(like.dtype)


def log_law(
    logits: Float[Tensor, "B *latent"], codes: Float[Tensor, "C *latent"], latent: LatentConfig
) -> Float[Tensor, "C B"]:
    """Log-probability, log q(code) in nats, of every code under every row of logits: one matrix product."""
    if latent.kind == "binary":
        return codes @ logits.T - F.softplus(logits).sum(dim=-1)
    return codes.flatten(start_dim=1) @ F.log_softmax(logits, dim=-1).flatten(start_dim=1).T


def expectation(
    cost: Callable[[Tensor], Tensor],
    logits: Float[Tensor, "B *latent"],
    latent: LatentConfig,
    *,
    chunk_size: int = CHUNK_SIZE,
) -> Float[Tensor, " B"]:
    """E_q[cost(code)] a row, exactly, differentiable in the logits and in whatever else the cost depends on.

    `cost` is handed [C, 1, *latent] and gives [C, B] (`training.estimators.Cost`). Where there is more than one chunk,
    each is computed again for the gradient, so that memory holds one chunk and not all. Raises ConfigError when there
    are too many codes.
    """

    def share(codes: Tensor, logits: Tensor) -> Tensor:
        return (log_law(logits, codes, latent).exp() * cost(codes.unsqueeze(1))).sum(dim=0)

    is_split = num_codes(latent) > chunk_size and torch.is_grad_enabled()
    total = torch.zeros_like(logits[(slice(None), *(0 for _ in latent.shape))])
    for codes in code_chunks(latent, chunk_size=chunk_size, like=logits):
        if is_split:
            total = total + checkpoint(share, codes, logits, use_reentrant=False, preserve_rng_state=False)
        else:
            total = total + share(codes, logits)
    return total
