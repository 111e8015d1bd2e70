"""Bounds on -log p(x) from discrete samples of q(z|x), a row at a time; memory does not grow with their number.

Shapes: R rows, S samples; the rest as in `training.latents`. All of it is to be called without gradients.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from training.costs import samples_log_likelihood
from training.latents import LatentConfig
from training.model import DiscreteVAE


class Samples(NamedTuple):
    """Codes drawn from q(z|x) for the same rows, and log p(x|z) of each in nats."""

    codes: Float[Tensor, "R S *latent"]
    log_likelihood: Float[Tensor, "R S"]


def draw_samples(
    model: DiscreteVAE,
    inputs: Float[Tensor, "R D"],
    logits: Float[Tensor, "R *latent"],
    *,
    num_samples: int,
    generator: torch.Generator,
    chunk_size: int,
) -> Iterator[Samples]:
    """`num_samples` exact samples a row, decoded about `chunk_size` codes at a time, at least one a row."""
    samples_per_chunk = max(1, chunk_size // len(inputs))
    for start in range(0, num_samples, samples_per_chunk):
        size = min(samples_per_chunk, num_samples - start)
        codes = sample_codes(model.latent, logits, size, generator)
        outputs = model.decoder(codes.flatten(end_dim=1)).unflatten(0, (len(inputs), size))
        yield Samples(codes, samples_log_likelihood(model.likelihood, outputs, inputs))


def sample_codes(
    latent: LatentConfig, logits: Float[Tensor, "R *latent"], num_samples: int, generator: torch.Generator
) -> Float[Tensor, "R S *latent"]:
    """Samples of the codes with these logits, as tensors in the dtype of the logits, from one uniform each a latent.

    By inversion, which takes a K-th of the random numbers and none of the logarithms of perturbed scores; no relaxed
    value is wanted here. Bits from a uniform in float32, categories from one in float64, so that what is rarer than
    2^-24 or 2^-53 may never come.
    """
    if latent.kind == "binary":
        shape = (len(logits), num_samples, latent.num_latents)
        uniform = torch.rand(shape, device=logits.device, dtype=torch.float32, generator=generator)
        return (uniform < torch.sigmoid(logits).unsqueeze(1)).to(logits.dtype)
    shape = (len(logits), num_samples, latent.num_latents, 1)
    uniform = torch.rand(shape, device=logits.device, dtype=torch.float64, generator=generator)
    upper = torch.softmax(logits.double(), dim=-1).cumsum(dim=-1).unsqueeze(1)
    # Whatever rounding has left of the total belongs to the last category.
    indices = (uniform >= upper[..., :-1]).sum(dim=-1)
    codes = torch.zeros(*indices.shape, latent.num_categories, device=logits.device, dtype=logits.dtype)
    return codes.scatter_(-1, indices.unsqueeze(-1), 1)


def distortion(
    model: DiscreteVAE,
    inputs: Float[Tensor, "R D"],
    logits: Float[Tensor, "R *latent"],
    *,
    num_samples: int,
    generator: torch.Generator,
    chunk_size: int,
) -> Float64[Tensor, " R"]:
    """An unbiased estimate of E_q[-log p(x|z)] a row, in nats: the mean over `num_samples` discrete samples.

    With the KL in closed form added it is one of -ELBO (Kingma and Welling 2013, arXiv:1312.6114, equation 3).
    """
    totals = []
    for rows, row_logits in _row_blocks(inputs, logits, num_samples, chunk_size):
        total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        for samples in draw_samples(
            model, rows, row_logits, num_samples=num_samples, generator=generator, chunk_size=chunk_size
        ):
            total -= samples.log_likelihood.double().sum(dim=1)
        totals.append(total)
    return torch.cat(totals) / num_samples


def latent_rates(
    model: DiscreteVAE,
    logits: Float[Tensor, "R *latent"],
    *,
    num_samples: int,
    generator: torch.Generator,
    chunk_size: int,
) -> Float64[Tensor, "R N"]:
    """KL(q(z|x) || p(z)) a row and a latent, in nats: in closed form where the prior's latents are independent.

    Otherwise an unbiased estimate, the mean of `Prior.kl` over `num_samples` discrete samples a row.
    """
    if model.prior.is_factorised:
        return model.kl(logits).double()
    total = torch.zeros(logits.shape[:2], dtype=torch.float64, device=logits.device)
    samples_per_chunk = max(1, chunk_size // len(logits))
    for start in range(0, num_samples, samples_per_chunk):
        size = min(samples_per_chunk, num_samples - start)
        codes = sample_codes(model.latent, logits, size, generator)
        total += model.prior.kl(logits.unsqueeze(1).expand_as(codes), codes).double().sum(dim=1)
    return total / num_samples


def importance_weighted(
    model: DiscreteVAE,
    inputs: Float[Tensor, "R D"],
    logits: Float[Tensor, "R *latent"],
    *,
    num_samples: Sequence[int],
    generator: torch.Generator,
    chunk_size: int,
) -> list[Float64[Tensor, " R"]]:
    """-log 1/m sum_i p(x|z_i) p(z_i) / q(z_i|x) a row, in nats, for each m in `num_samples`, z_i from q(z|x).

    In expectation between -ELBO (m = 1) and -log p(x), and not increasing in m (Burda, Grosse and Salakhutdinov 2015,
    arXiv:1509.00519, theorem 1). The bounds share their samples: that of m takes the first m of them.
    """
    blocks = [
        streamed_log_means(
            _log_weights(
                model, rows, row_logits, num_samples=max(num_samples), generator=generator, chunk_size=chunk_size
            ),
            num_samples,
        )
        for rows, row_logits in _row_blocks(inputs, logits, max(num_samples), chunk_size)
    ]
    return [-torch.cat(log_means) for log_means in zip(*blocks, strict=True)]


def streamed_log_means(chunks: Iterable[Float[Tensor, "R _"]], counts: Sequence[int]) -> list[Float64[Tensor, " R"]]:
    """The logarithm of 1/m sum exp of the first m values of each row, for each m in `counts`.

    `chunks` are the values in order; however they are cut, the answer is the same up to rounding. In float64.
    """
    totals: list[Tensor | None] = [None] * len(counts)
    start = 0
    for chunk in chunks:
        for number, count in enumerate(counts):
            if count > start:
                total = chunk[:, : count - start].double().logsumexp(dim=1)
                before = totals[number]
                totals[number] = total if before is None else torch.logaddexp(before, total)
        start += chunk.shape[1]
    if start < max(counts) or min(counts) < 1:
        raise ValueError(f"counts: expected values from 1 to {start}, the number of values a row, got {list(counts)}")
    return [total - math.log(count) for total, count in zip(totals, counts, strict=True)]


def _log_weights(
    model: DiscreteVAE,
    inputs: Float[Tensor, "R D"],
    logits: Float[Tensor, "R *latent"],
    *,
    num_samples: int,
    generator: torch.Generator,
    chunk_size: int,
) -> Iterator[Float[Tensor, "R S"]]:
    """Logarithms of p(x|z) p(z) / q(z|x) of samples from q(z|x), in nats."""
    for samples in draw_samples(
        model, inputs, logits, num_samples=num_samples, generator=generator, chunk_size=chunk_size
    ):
        log_q = model.latent.log_prob(logits.unsqueeze(1), samples.codes)
        yield samples.log_likelihood + model.prior.log_prob(samples.codes) - log_q


def _row_blocks(
    inputs: Float[Tensor, "R D"], logits: Float[Tensor, "R *latent"], num_samples: int, chunk_size: int
) -> Iterator[tuple[Float[Tensor, "r D"], Float[Tensor, "r *latent"]]]:
    """Consecutive rows, so many that all samples of a block are one chunk; single rows when one row fills chunks."""
    size = max(1, chunk_size // num_samples)
    yield from zip(inputs.split(size), logits.split(size), strict=True)
