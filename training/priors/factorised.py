"""Priors with independent latents: uniform, and with learned logits."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.latents import LatentConfig
from training.priors.interface import Prior


class _IndependentLatents(Prior):
    """p(z) = prod_n p(z_n), with `logits` [*latent] set by the classes below."""

    is_factorised = True
    logits: Float[Tensor, "*latent"]

    def forward(self, codes: Float[Tensor, "*batch_latent"]) -> Float[Tensor, "*batch_latent"]:
        return self.logits.expand_as(codes)

    def log_prob(self, codes: Float[Tensor, "*batch_latent"]) -> Float[Tensor, "..."]:
        """As `Prior.log_prob`, with what depends on no code computed once and not for each of them."""
        return self.latent.log_prob(self.logits, codes)

    def kl(
        self,
        logits: Float[Tensor, "*batch_latent"],
        codes: Float[Tensor, "*batch_latent"] | None = None,  # noqa: ARG002 - the latents do not depend on each other
    ) -> Float[Tensor, "... N"]:
        """KL(q(z_n|x) || p(z_n)), in closed form whatever `codes` are."""
        return self.latent.kl(logits, self.logits)

    @torch.no_grad()
    def codes_of_noise(
        self, noise: Float[Tensor, "B *latent"], temperature: Float[Tensor, " B"] | float = 1.0
    ) -> Float[Tensor, "B *latent"]:
        """One sample a row; at temperature 0 the mode of p."""
        return self.latent.most_probable(self.logits + self._a_row_each(temperature) * noise)


class UniformPrior(_IndependentLatents):
    """Every code has probability K^-N. Nothing is learned, and nothing is added to a checkpoint."""

    name = "uniform"

    def __init__(self, latent: LatentConfig) -> None:
        super().__init__(latent)
        self.register_buffer("logits", torch.zeros(latent.shape), persistent=False)


class FactorisedPrior(_IndependentLatents):
    """One learned Bernoulli or categorical law a latent, uniform at first.

    With the rest fixed, the KL is least when each law is the aggregate posterior of its latent; what is left of it is
    the mutual information of input and latents taken one by one.
    """

    name = "factorised"

    def __init__(self, latent: LatentConfig) -> None:
        super().__init__(latent)
        self.logits = nn.Parameter(torch.zeros(latent.shape))
