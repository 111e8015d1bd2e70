"""Models so small that every code can be written down, and what enumeration says about them: the exact answers."""

import itertools

import torch
from scipy.stats import norm

from training.latents import LatentConfig
from training.model import DiscreteVAE
from training.networks import MlpConfig

BITS = LatentConfig(kind="binary", num_latents=4)
CATEGORIES = LatentConfig(kind="categorical", num_latents=2, num_categories=3)
LATENTS = [BITS, CATEGORIES]
NUM_VALUES = 6


def vae(latent, *, dtype=torch.float64, seed=0, num_values=NUM_VALUES):
    """An MLP of random weights, large enough that the posterior and the likelihood are far from flat."""
    torch.manual_seed(seed)
    model = DiscreteVAE(
        latent, MlpConfig(hidden=(5,), activation="tanh"), (num_values,), torch.full((num_values,), 0.4)
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.5)
    return model.to(dtype)


def bits(num_rows, *, dtype=torch.float64, seed=1, num_values=NUM_VALUES):
    """Inputs of 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(num_rows, num_values, generator=generator) < 0.4).to(dtype)


def all_codes(latent):
    """Every code as a tensor: [K^N, *latent], float64."""
    indices = torch.tensor(list(itertools.product(range(latent.num_categories), repeat=latent.num_latents)))
    return latent.from_indices(indices).double()


def log_likelihoods(model, inputs):
    """log p(x|z) of every row and every code: [R, K^N]."""
    codes = all_codes(model.latent).to(inputs)
    return torch.stack([model.log_likelihood(row.expand(len(codes), -1), codes) for row in inputs])


def log_posterior(model, inputs):
    """log q(z|x) of every row and every code, from the definition: a product over latents. [R, K^N]."""
    codes = all_codes(model.latent).to(inputs)
    logits = model.encoder(inputs)
    if model.latent.kind == "binary":
        # log sigmoid(+-logit), as log-sum-exp over the two values of a bit.
        both = torch.stack([torch.zeros_like(logits), logits], dim=-1)
        one_hot = torch.stack([1 - codes, codes], dim=-1)
    else:
        both, one_hot = logits, codes
    log_q = both - both.logsumexp(dim=-1, keepdim=True)
    return torch.einsum("rnk,cnk->rc", log_q, one_hot)


def log_prior(model):
    """log p(z), the same for every code."""
    return -float(torch.log(torch.tensor(float(len(all_codes(model.latent))), dtype=torch.float64)))


def exact_nll(model, inputs):
    """-log p(x) = -log sum_z p(x|z) p(z): [R], nats."""
    return -(log_likelihoods(model, inputs) + log_prior(model)).logsumexp(dim=1)


def exact_negative_elbo(model, inputs):
    """E_q[log q(z|x) - log p(x|z) - log p(z)]: [R], nats, with gradients."""
    log_q = log_posterior(model, inputs)
    return (log_q.exp() * (log_q - log_likelihoods(model, inputs) - log_prior(model))).sum(dim=1)


def standard_errors(false_alarm, num_comparisons=1):
    """How many standard errors a normal estimate may be off so that a right one fails with this probability.

    Over all comparisons together, by the union bound.
    """
    return float(norm.isf(false_alarm / num_comparisons / 2))
