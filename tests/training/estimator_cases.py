"""What tests of estimators start from: posteriors, costs with parameters of their own, gradients a row, exact answers.

Rows are independent, so a batch of equal rows is a batch of independent draws, and one backward pass gives the
gradient of each.
"""

from typing import NamedTuple

import torch
from tiny_vae import all_codes

from training.latents import LatentConfig
from training.relaxations import RELAXATIONS

BITS = LatentConfig(kind="binary", num_latents=3)
CATEGORIES = LatentConfig(kind="categorical", num_latents=2, num_categories=3)
LATENTS = [BITS, CATEGORIES]
ONE = torch.ones((), dtype=torch.float64)


def by_kind(latent):
    return latent.kind


def by_name(estimator):
    return estimator.name


def posterior(logits, latent):
    """The plain relaxation of that kind, whose parameters are the logits."""
    return RELAXATIONS["binary_concrete" if latent.kind == "binary" else "concrete"](logits, latent)


def random_logits(latent, num_rows=1, *, seed=4, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(num_rows, *latent.shape, generator=generator, dtype=torch.float64).to(dtype)


def flat(codes, latent):
    """[..., B, *latent] as [..., B, L]."""
    return codes.reshape(*codes.shape[: codes.ndim - len(latent.shape)], -1)


class LinearCost:
    """w . z + c: linear in the whole code."""

    def __init__(self, latent, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.latent = latent
        self.weights = torch.randn(flat(torch.zeros(1, *latent.shape), latent).shape[-1], generator=generator).double()

    def __call__(self, codes):
        return flat(codes, self.latent) @ self.weights.to(codes) + 0.3


class QuadraticCost(LinearCost):
    """z' A z + w . z: quadratic in the code of each latent, and mixing them all."""

    def __init__(self, latent, seed=0):
        super().__init__(latent, seed)
        generator = torch.Generator().manual_seed(seed + 100)
        self.matrix = torch.randn(2 * self.weights.shape, generator=generator).double()

    def __call__(self, codes):
        values = flat(codes, self.latent)
        return ((values @ self.matrix.to(codes)) * values).sum(dim=-1) + super().__call__(codes)


class NetworkCost(LinearCost):
    """A small network with a bias a row, so that the gradient of the cost's own parameters is there for each draw."""

    NUM_HIDDEN = 5

    def __init__(self, latent, num_rows, *, seed=0, dtype=torch.float64):
        super().__init__(latent, seed)
        generator = torch.Generator().manual_seed(seed + 200)
        self.inner = 1.5 * torch.randn(len(self.weights), self.NUM_HIDDEN, generator=generator).to(dtype)
        self.outer = torch.randn(self.NUM_HIDDEN, generator=generator).to(dtype)
        start = torch.randn(1, self.NUM_HIDDEN, generator=generator).to(dtype)
        self.bias = start.expand(num_rows, -1).clone().requires_grad_()

    def __call__(self, codes):
        return torch.tanh(flat(codes, self.latent) @ self.inner + self.bias) @ self.outer


class Draws(NamedTuple):
    """Of every draw: the estimate of the cost, and the gradients of the surrogate."""

    cost: torch.Tensor
    logits: torch.Tensor
    parameters: torch.Tensor | None = None


def draw(estimator, latent, logits, cost, *, num_draws, tau=ONE, seed=1):
    """`num_draws` independent estimates for one row of logits."""
    rows = logits.detach().expand(num_draws, *latent.shape).clone().requires_grad_()
    estimate = estimator(
        posterior(rows, latent), cost, relaxation_temperature=tau, generator=torch.Generator().manual_seed(seed)
    )
    wanted = [rows, cost.bias] if isinstance(cost, NetworkCost) else [rows]
    gradients = torch.autograd.grad(estimate.surrogate.sum(), wanted)
    return Draws(estimate.cost, *(gradient.flatten(start_dim=1) for gradient in gradients))


def exact(latent, logits, cost):
    """E_q[cost] and its gradients for one row, summed over every code by the definition."""
    rows = logits.detach().clone().requires_grad_()
    codes = all_codes(latent).to(logits)
    probabilities = latent.law(rows).log_prob(codes).sum(dim=-1).exp()
    value = (probabilities * cost(codes.unsqueeze(1)).squeeze(1)).sum()
    wanted = [rows, cost.bias] if isinstance(cost, NetworkCost) else [rows]
    gradients = torch.autograd.grad(value, wanted)
    return Draws(value.detach(), *(gradient.flatten() for gradient in gradients))


class Recorded:
    """A cost that remembers the codes it met, detached, and apart from them where `torch.func` differentiated it."""

    def __init__(self, cost):
        self.cost = cost
        self.seen = []
        self.differentiated_at = []

    def __call__(self, codes):
        if torch._C._functorch.is_functorch_wrapped_tensor(codes):
            self.differentiated_at.append(torch._C._functorch.get_unwrapped(codes))
        else:
            self.seen.append(codes.detach())
        return self.cost(codes)


def expectation_over_codes(estimator, latent, logits, cost, *, tau=ONE, num_draws=4096):
    """The expectation of the gradient of an estimator that is a function of its code, without error.

    Many draws, of which the gradient of each code that came up is taken once and weighted by the code's probability.
    Fails when a code never came up, or when two draws of one code differ.
    """
    recorded = Recorded(cost)
    draws = draw(estimator, latent, logits, recorded, num_draws=num_draws, tau=tau)
    (seen,) = recorded.seen
    seen = seen.reshape(num_draws, *latent.shape)
    total = torch.zeros_like(draws.logits[0])
    for code in all_codes(latent):
        where = (seen == code.to(seen)).flatten(start_dim=1).all(dim=1)
        gradients = draws.logits[where]
        assert len(gradients) > 0, "a code was never drawn: more draws are needed"
        torch.testing.assert_close(gradients, gradients[:1].expand_as(gradients), rtol=1e-12, atol=1e-12)
        total += latent.law(logits).log_prob(code.to(logits)).sum().exp() * gradients[0]
    return total
