"""A learned prior in which each latent depends on all latents before it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from training.latents import LatentConfig
from training.priors.interface import Prior
from training.priors.made import Made


class AutoregressivePrior(Prior):
    """p(z) = prod_n p(z_n | z_1 .. z_{n-1}), the logits of all factors from one masked network (MADE).

    Can represent what independent latents cannot: that some codes never occur. Uniform at first. The logits of a code
    cost one pass; drawing a code costs one pass a latent, in order.
    """

    name = "autoregressive"
    is_factorised = False

    def __init__(self, latent: LatentConfig, hidden: Sequence[int]) -> None:
        """Weights are drawn from the global generator. Raises ValueError when `hidden` is too narrow (see `Made`)."""
        super().__init__(latent)
        self.network = Made(latent.num_latents, 1 if latent.kind == "binary" else latent.num_categories, hidden)

    def forward(self, codes: Float[Tensor, "*batch_latent"]) -> Float[Tensor, "*batch_latent"]:
        """Logits of p(z_n | z_1 .. z_{n-1}) for every n: one step of drawing a code uses those of one n."""
        if self.latent.kind == "binary":
            return self.network(2 * codes - 1)
        return self.network(codes.flatten(start_dim=-2)).unflatten(-1, self.latent.shape)

    def kl(
        self, logits: Float[Tensor, "*batch_latent"], codes: Float[Tensor, "*batch_latent"] | None = None
    ) -> Float[Tensor, "... N"]:
        """KL(q(z_n|x) || p(z_n | codes before n)) in closed form, at one code of q a row.

        By the chain rule KL(q || p) is the sum over n of the expectation of these under q (the latents of q are
        independent), so for codes drawn from q their sum is unbiased; it is a mean over z_n where `-log p(codes)` takes
        the one value drawn, and no term of it is negative. Single terms are unbiased for the n-th term of that sum.

        As for gradients, the estimate depends on the logits twice. Directly: autograd has that part, exactly. And
        through the law of the codes: that part is left to an estimator, as for the reconstruction, by making the
        estimate a part of the cost, `lambda codes: prior.kl(logits, codes).sum(-1)`. A score-function estimator then
        stays unbiased; a straight-through code hands on the gradient that the prior's network has with respect to it,
        with the bias of straight-through, since that network is not linear in the code.
        """
        if codes is None:
            raise ValueError("codes: expected a sample of q for the KL to an autoregressive prior, got none")
        return self.latent.kl(logits, self(codes))

    @torch.no_grad()
    def codes_of_noise(
        self, noise: Float[Tensor, "B *latent"], temperature: Float[Tensor, " B"] | float = 1.0
    ) -> Float[Tensor, "B *latent"]:
        """One sample a row, latent by latent.

        A temperature other than 1 tempers each factor given the latents drawn before it, which is not the law
        p(z)^(1/T) of whole codes; at 0 the code is the greedy one, not always the most probable.
        """
        scaled_noise = self._a_row_each(temperature) * noise
        codes = torch.zeros_like(noise)
        for n in range(self.latent.num_latents):
            codes[:, n] = self.latent.most_probable(self(codes)[:, n] + scaled_noise[:, n])
        return codes
