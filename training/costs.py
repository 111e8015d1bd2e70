"""What a code costs: -log p(x|z), for many rows and many codes at once.

Shapes as in `training.latents`; C codes, P decoder outputs.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from training.likelihoods import BernoulliLikelihood, Likelihood
from training.model import DiscreteVAE

_PAIRS_AT_ONCE = 4_096


def distortion_cost(model: DiscreteVAE, inputs: Float[Tensor, "B D"]) -> Callable[[Tensor], Tensor]:
    """-log p(x|z) in nats of codes (or relaxed values) for these rows, as a `training.estimators.Cost`.

    Codes [..., B, *latent], leading axes being samples, give [..., B]. Codes [..., 1, *latent], the same for every
    row, are decoded once each and give [..., B] too.
    """

    def cost(codes: Tensor) -> Tensor:
        *lead, num_rows = codes.shape[: codes.ndim - len(model.latent.shape)]
        if num_rows == len(inputs):
            return -model.log_likelihood(inputs, codes)
        outputs = model.decoder(codes.reshape(-1, *model.latent.shape))
        return -pairwise_log_likelihood(model.likelihood, outputs, inputs).reshape(*lead, len(inputs))

    return cost


def pairwise_log_likelihood(
    likelihood: Likelihood, outputs: Float[Tensor, "C P"], inputs: Float[Tensor, "B D"]
) -> Float[Tensor, "C B"]:
    """Log-likelihood, log p(x|z) in nats, of every code's decoder outputs and every row.

    For Bernoulli values, `o . x - sum softplus(o)`, one matrix product; it is the same sum as that of
    `BernoulliLikelihood.log_prob` in another order. For other laws, pair by pair, a bounded number at a time.
    """
    if isinstance(likelihood, BernoulliLikelihood):
        return outputs @ inputs.T - F.softplus(outputs).sum(dim=-1, keepdim=True)
    blocks = []
    for block in outputs.split(max(1, _PAIRS_AT_ONCE // len(inputs))):
        repeated = block.repeat_interleave(len(inputs), dim=0)
        rows = inputs.repeat(len(block), 1)
        blocks.append(likelihood.log_prob(repeated, rows).reshape(len(block), len(inputs)))
    return torch.cat(blocks)


def samples_log_likelihood(
    likelihood: Likelihood, outputs: Float[Tensor, "R S P"], inputs: Float[Tensor, "R D"]
) -> Float[Tensor, "R S"]:
    """Log-likelihood, log p(x|z) in nats, of the decoder outputs of several codes for each row.

    For Bernoulli values `o . x - sum softplus(o)` as in `pairwise_log_likelihood`, one matrix product a row.
    """
    if isinstance(likelihood, BernoulliLikelihood):
        return torch.matmul(outputs, inputs.unsqueeze(-1)).squeeze(-1) - F.softplus(outputs).sum(dim=-1)
    num_rows, num_samples = outputs.shape[:2]
    repeated = inputs.unsqueeze(1).expand(-1, num_samples, -1).flatten(end_dim=1)
    return likelihood.log_prob(outputs.flatten(end_dim=1), repeated).unflatten(0, (num_rows, num_samples))
