"""The likelihood itself, and -ELBO without sampling, where codes are few enough to visit them all.

Every code is decoded once, whatever the number of rows; for Bernoulli values the rest is one matrix product. Shapes as
in `training.latents`; C codes, R rows. No gradients: see `training.enumeration.expectation` for those.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from training.costs import pairwise_log_likelihood
from training.enumeration import CHUNK_SIZE, code_chunks, log_law
from training.model import DiscreteVAE

_ROWS_AT_ONCE = 1_024


class ExactBounds(NamedTuple):
    """A value a row, in nats."""

    negative_log_likelihood: Float64[Tensor, " R"]
    """-log p(x) = -log sum_z p(z) p(x|z)."""
    distortion: Float64[Tensor, " R"]
    """E_q[-log p(x|z)]."""
    rate: Float64[Tensor, " R"]
    """KL(q(z|x) || p(z)), for any prior."""

    @property
    def negative_elbo(self) -> Float64[Tensor, " R"]:
        """Distortion and rate: above the first by KL(q(z|x) || p(z|x)), what the mean-field posterior misses."""
        return self.distortion + self.rate


@torch.no_grad()
def exact_bounds(model: DiscreteVAE, inputs: Float[Tensor, "R D"], *, chunk_size: int = CHUNK_SIZE) -> ExactBounds:
    """Both bounds of every row, summed over every code; memory is that of `chunk_size` codes and 1,024 rows.

    Log-likelihoods are computed in the model's dtype, all else in float64. Where the likelihood is none
    (`Likelihood.is_likelihood`) the sums bound nothing. Raises ConfigError when there are too many codes.
    """
    log_evidence = torch.full((len(inputs),), -torch.inf, dtype=torch.float64, device=inputs.device)
    distortion, rate = torch.zeros_like(log_evidence), torch.zeros_like(log_evidence)
    blocks = [slice(start, start + _ROWS_AT_ONCE) for start in range(0, len(inputs), _ROWS_AT_ONCE)]
    logits = [model.posterior(inputs[rows]).logits.double() for rows in blocks]
    for codes in code_chunks(model.latent, chunk_size=chunk_size, like=inputs):
        outputs = model.decoder(codes)
        log_prior = model.prior.log_prob(codes).double().unsqueeze(1)
        for rows, row_logits in zip(blocks, logits, strict=True):
            log_likelihood = pairwise_log_likelihood(model.likelihood, outputs, inputs[rows]).double()
            log_q = log_law(row_logits, codes.double(), model.latent)
            q = log_q.exp()
            distortion[rows] -= (q * log_likelihood).sum(dim=0)
            rate[rows] += (q * (log_q - log_prior)).sum(dim=0)
            log_evidence[rows] = torch.logaddexp(log_evidence[rows], (log_likelihood + log_prior).logsumexp(dim=0))
    return ExactBounds(-log_evidence, distortion, rate)


@torch.no_grad()
def log_true_posterior(model: DiscreteVAE, inputs: Float[Tensor, "R D"]) -> Float64[Tensor, "C R"]:
    """Log-probability, log p(z|x) in nats, of every code given every row: what q(z|x) approximates.

    All of it at once: for few rows. Raises ConfigError when there are too many codes.
    """
    log_joint = torch.cat(
        [
            pairwise_log_likelihood(model.likelihood, model.decoder(codes), inputs).double()
            + model.prior.log_prob(codes).double().unsqueeze(1)
            for codes in code_chunks(model.latent, like=inputs)
        ]
    )
    return log_joint.log_softmax(dim=0)
