"""How much of the code a model uses, over a whole set: entropies, perplexities, distinct codes, margins.

Counts are summed over the set before any entropy is taken: the entropy of a batch grows with the batch.
Shapes: N latents, K categories (2 for bits).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from models.codes import pack
from training.latents import LatentConfig

MARGIN_EDGES = np.concatenate([[0.0], np.logspace(-6, 2, 17), [np.inf]])
"""Borders of the histogram of margins: two bins a factor of ten, and everything below and above."""


def entropy_bits(frequencies: Float64[np.ndarray, "*rest K"]) -> Float64[np.ndarray, "*rest"]:
    """Entropy over the last axis, in bits; 0 log 0 is 0."""
    logs = np.log2(frequencies, out=np.zeros_like(frequencies), where=frequencies > 0)
    return np.asarray(-(frequencies * logs).sum(axis=-1))


@dataclass(frozen=True)
class CodeUsage:
    """What codes were used over a set of rows.

    `aggregate_posterior` is the mean of q(z_n|x) over the rows, the law of codes at temperature 1;
    `code_frequencies` are those of the most probable codes, which are served at temperature 0.
    """

    aggregate_posterior: Float64[np.ndarray, "N K"]
    code_frequencies: Float64[np.ndarray, "N K"]
    distinct_counts: Int64[np.ndarray, " distinct"]
    """How many rows share each distinct most probable code."""
    margin_counts: Int64[np.ndarray, " bins"]
    """Symbols with a margin in each bin of MARGIN_EDGES, over all rows and latents."""

    @property
    def aggregate_perplexity(self) -> Float64[np.ndarray, " N"]:
        """Effective number of categories of each latent, 1 to K: 2 to the bits of the aggregate posterior."""
        return np.exp2(entropy_bits(self.aggregate_posterior))

    @property
    def code_perplexity(self) -> Float64[np.ndarray, " N"]:
        """The same of the most probable codes."""
        return np.exp2(entropy_bits(self.code_frequencies))

    @property
    def joint_entropy_bits(self) -> float:
        """Entropy of the most probable codes as wholes, in bits; at most log2 of the number of rows."""
        return float(entropy_bits(self.distinct_counts / self.distinct_counts.sum()))

    @property
    def num_dead_categories(self) -> int:
        """Of N K categories (bits: values), those that no most probable code holds."""
        return int((self.code_frequencies == 0).sum())

    def share_of_margins_below(self, edge: float) -> float:
        """Share of symbols with a smaller margin; `edge` is one of MARGIN_EDGES."""
        (position,) = np.flatnonzero(np.isclose(MARGIN_EDGES, edge, rtol=1e-9, atol=0))
        return float(self.margin_counts[:position].sum() / self.margin_counts.sum())


class CodeUsageCounter:
    """Sums up what `CodeUsage` needs from the logits of one batch after another."""

    def __init__(self, latent: LatentConfig) -> None:
        self._latent = latent
        self._posterior = np.zeros((latent.num_latents, latent.num_categories))
        self._codes = np.zeros((latent.num_latents, latent.num_categories), dtype=np.int64)
        self._margins = np.zeros(len(MARGIN_EDGES) - 1, dtype=np.int64)
        self._packed: list[np.ndarray] = []
        self._num_rows = 0

    def add(self, logits: Float[Tensor, "B *latent"]) -> None:
        latent = self._latent
        probabilities = latent.law(logits).probs.double().sum(dim=0)
        codes = latent.most_probable(logits)
        counts = codes.double().sum(dim=0)
        if latent.kind == "binary":
            probabilities = torch.stack([len(logits) - probabilities, probabilities], dim=-1)
            counts = torch.stack([len(logits) - counts, counts], dim=-1)
        self._posterior += probabilities.cpu().numpy()
        self._codes += counts.cpu().numpy().astype(np.int64)
        self._margins += np.histogram(latent.margins(logits).cpu().numpy(), bins=MARGIN_EDGES)[0]
        self._packed.append(pack(latent.indices(codes).cpu().numpy(), latent.layout))
        self._num_rows += len(logits)

    def usage(self) -> CodeUsage:
        """Over all rows added so far, of which there must be one at least."""
        packed = np.ascontiguousarray(np.concatenate(self._packed))
        whole = packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
        return CodeUsage(
            aggregate_posterior=self._posterior / self._num_rows,
            code_frequencies=self._codes / self._num_rows,
            distinct_counts=np.unique(whole, return_counts=True)[1],
            margin_counts=self._margins,
        )
