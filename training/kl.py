"""The rate KL(q(z|x) || p(z)) from samples, when p has no closed form; and the entropy, which always has one."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from training.latents import LatentConfig
from training.priors import Prior


def entropy(logits: Float[Tensor, "*batch_latent"], latent: LatentConfig) -> Float[Tensor, "... N"]:
    """H(q(z_n|x)) of the discrete law with these logits, in closed form: nats a latent, within [0, log K].

    As log K less the KL to the uniform law, which is finite for all finite logits.
    """
    return math.log(latent.num_categories) - latent.kl(logits, torch.zeros_like(logits))


def sampled_kl(
    prior: Prior, logits: Float[Tensor, "*batch_latent"], codes: Float[Tensor, "*batch_latent"]
) -> Float[Tensor, "..."]:
    """-H(q) - log p(codes) in nats a row: unbiased for KL(q || p) when `codes` are a sample of q.

    The textbook estimate, for any prior: the entropy in closed form, the rest from the one code, so that a single
    value can be negative. `Prior.kl` is the other, with closed forms for one latent given the sampled ones before it.

    Gradients: that of -H(q) with respect to the logits is exact. `-log p(codes)` is a function of the codes alone and
    can be a cost of any estimator; it is linear in the code when the prior is factorised, so that a straight-through
    estimator whose relaxed value is the mean of the code is exact for it. With codes that carry no gradient, the
    logits see the gradient of -H(q) only: wrong, unless an estimator adds the rest.
    """
    return -entropy(logits, prior.latent).sum(dim=-1) - prior.log_prob(codes)
