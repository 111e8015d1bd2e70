"""What every prior p(z) over codes offers. Shapes as in `training.latents`."""

from abc import ABC, abstractmethod
from itertools import chain
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training import noise
from training.latents import LatentConfig

PriorName = Literal["uniform", "factorised", "autoregressive"]


class Prior(nn.Module, ABC):
    """p(z) = prod_n p(z_n | z_1 .. z_{n-1}), given by the logits of each factor.

    Called with codes, it returns those logits for all latents in one pass; that call is a graph without random
    operators and can be exported. Codes are tensors, and what is computed from them is differentiable in them: with a
    straight-through code the gradient that reaches it goes on to the relaxed value behind it.
    """

    name: ClassVar[PriorName]
    """As configurations and manifests say it."""
    is_factorised: ClassVar[bool]
    """Whether latents are independent: then `kl` is exact, and needs no codes."""

    def __init__(self, latent: LatentConfig) -> None:
        super().__init__()
        self.latent = latent

    @abstractmethod
    def forward(self, codes: Float[Tensor, "*batch_latent"]) -> Float[Tensor, "*batch_latent"]:
        """Logits of p(z_n | z_1 .. z_{n-1}), for every n and any leading axes.

        Those of latent n do not depend on `codes` from latent n on, which may therefore hold anything.
        """

    def log_prob(self, codes: Float[Tensor, "*batch_latent"]) -> Float[Tensor, "..."]:
        """Log-probability of whole codes in nats, of the shape of the leading axes; one pass, differentiable."""
        return self.latent.log_prob(self(codes), codes)

    @abstractmethod
    def kl(
        self, logits: Float[Tensor, "*batch_latent"], codes: Float[Tensor, "*batch_latent"] | None = None
    ) -> Float[Tensor, "... N"]:
        """KL(q(z|x) || p(z)) in nats a latent for q with these logits: exact, or an unbiased estimate from `codes`.

        Never negative. Raises ValueError where codes are needed and not given.
        """

    @abstractmethod
    def codes_of_noise(
        self, noise: Float[Tensor, "B *latent"], temperature: Float[Tensor, " B"] | float = 1.0
    ) -> Float[Tensor, "B *latent"]:
        """The codes this standard noise, in the prior's dtype, picks: as tensors, without gradient.

        `temperature` scales the noise, so that it divides the logits of each factor: at 1 codes are exact samples of
        p, at 0 each latent takes its most probable value (given those before it).
        """

    @torch.no_grad()
    def sample(
        self, num_codes: int, *, generator: torch.Generator, temperature: float = 1.0
    ) -> Float[Tensor, "B *latent"]:
        """Codes drawn from the prior, as tensors in its dtype; `temperature` as in `codes_of_noise`.

        The noise is drawn in float32 whatever that dtype. Raises ValueError on a temperature below 0.
        """
        if not temperature >= 0:
            raise ValueError(f"temperature: expected 0 or more, got {temperature}")
        standard = noise.draw(self.latent.noise, (num_codes, *self.latent.shape), generator)
        weights = next(chain(self.parameters(), self.buffers()))
        return self.codes_of_noise(standard.to(weights.dtype), temperature)

    def _a_row_each(self, temperature: Float[Tensor, " B"] | float) -> Float[Tensor, "..."] | float:
        """One temperature a row, to be multiplied with noise [B, *latent]."""
        if isinstance(temperature, Tensor):
            return temperature.reshape(-1, *(1 for _ in self.latent.shape))
        return temperature
