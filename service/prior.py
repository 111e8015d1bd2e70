"""Codes drawn from a model's prior.

    scores = logits + T eps        code = most probable of scores        relaxed = sigmoid or softmax of scores / tau

with eps the standard noise of the kind (Logistic for a bit, Gumbel for a category), whatever relaxes the posterior. The
logits are 0 where the prior is uniform and the manifest's where it is factorised, so that at T > 0 the law of a code is
softmax(logits / T). Where it is autoregressive they are those of each latent given the latents drawn before it, from a
run of the prior's graph for each latent: T tempers every factor, at 1 codes are exact samples of the prior, and at 0
each latent takes its most probable value after those before it.

Shapes: B rows, N latents, K categories; `*latent` is N (binary) or N, K (categorical).
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes
from models.manifest import FactorisedPrior, Manifest, Role
from service.checks import Floats

RunGraph = Callable[[Role, Sequence[NDArray[Any]], Sequence[str]], Awaitable[list[NDArray[Any]]]]
"""Role of a graph, its inputs in the order of its signature, and names of outputs, to those outputs."""

Conditionals = Callable[[Floats], Coroutine[Any, Any, Floats]]
"""Codes as corners [B, *latent] to the logits [B, *latent] of each latent, which depend on the latents before it."""


def conditionals(manifest: Manifest, run: RunGraph) -> Conditionals:
    """Those of the manifest's prior; only an autoregressive one has a graph to run."""

    async def logits_of(corners: Floats) -> Floats:
        if isinstance(manifest.prior, FactorisedPrior):
            return np.broadcast_to(manifest.prior.logits.array(), corners.shape)
        if manifest.prior.name == "uniform":
            return np.zeros_like(corners)
        (logits,) = await run("prior", (corners,), ("logits",))
        return logits

    return logits_of


async def scores(manifest: Manifest, noise: Floats, temperature: float, conditionals: Conditionals) -> Floats:
    """Perturbed scores [B, *latent] for standard noise of that shape."""
    scaled = np.float32(temperature) * noise
    corners = np.zeros_like(noise)
    if manifest.prior.name != "autoregressive":
        independent: Floats = await conditionals(corners) + scaled
        return independent
    perturbed = np.empty_like(noise)
    for latent in range(manifest.num_latents):
        perturbed[:, latent] = (await conditionals(corners))[:, latent] + scaled[:, latent]
        corners[:, latent] = as_corners(manifest, most_probable(manifest, perturbed[:, latent]))
    return perturbed


def most_probable(manifest: Manifest, scores: Floats) -> Codes:
    """`[scores > 0]`, or the (first) arg max of the last axis, in the dtype of the code's layout."""
    best = scores > 0 if manifest.kind == "binary" else scores.argmax(axis=-1)
    codes: Codes = best.astype(manifest.layout.dtype)
    return codes


def relaxed(manifest: Manifest, scores: Floats, relaxation_temperature: float) -> Floats:
    """`sigmoid(scores / tau)`, or `softmax(scores / tau)` over the last axis; computed in float64, so never NaN."""
    precise = scores.astype(np.float64)
    if manifest.kind == "binary":
        return np.exp(-np.logaddexp(0.0, -precise / relaxation_temperature)).astype(np.float32)
    weights = np.exp((precise - precise.max(axis=-1, keepdims=True)) / relaxation_temperature)
    simplex: Floats = (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)
    return simplex


def as_corners(manifest: Manifest, codes: NDArray[np.integer[Any]]) -> Floats:
    """Codes [...] as corners of the unit cube, [...], or of the simplex, [..., K]: 0 and 1, or one-hot."""
    if manifest.kind == "binary":
        return codes.astype(np.float32)
    one_hot = np.zeros((*codes.shape, manifest.num_categories), np.float32)
    np.put_along_axis(one_hot, codes[..., None].astype(np.intp), 1.0, axis=-1)
    return one_hot
