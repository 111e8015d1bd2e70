"""The latent variables: how many, of which kind, and the laws over their codes.

Shapes, here and in every module of this package: B rows, N latents, K categories, D input values; `*latent` is N for
binary and N, K for categorical latents. A *code as a tensor* is float: 0 or 1 a bit, or one-hot over K, so that it
can be fed to a decoder and differentiated through; `indices` are the integers it stands for.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, OneHotCategorical

from models.codes import CodeLayout
from models.manifest import Kind
from models.noise import NoiseName


@dataclass(frozen=True, kw_only=True)
class LatentConfig:
    """`num_latents` Bernoulli bits, or as many categorical variables of `num_categories` values."""

    kind: Kind = "binary"
    num_latents: int = 32
    num_categories: int = 2

    def __post_init__(self) -> None:
        CodeLayout(self.num_latents, self.num_categories)
        if self.kind == "binary" and self.num_categories != 2:
            raise ValueError(
                f"num_categories: expected 2 for binary latents, got {self.num_categories}; "
                'for more categories set latent.kind = "categorical"'
            )

    @property
    def layout(self) -> CodeLayout:
        return CodeLayout(self.num_latents, self.num_categories)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row of logits, noise, relaxed values and codes as tensors."""
        return (self.num_latents,) if self.kind == "binary" else (self.num_latents, self.num_categories)

    def repeated(self, num_times: int) -> "LatentConfig":
        """That many copies of every latent, as the codes of one row that are drawn together."""
        return dataclasses.replace(self, num_latents=num_times * self.num_latents)

    @property
    def noise(self) -> NoiseName:
        """The standard noise whose perturbation of the logits samples the posterior exactly."""
        return "logistic" if self.kind == "binary" else "gumbel"

    def law(self, logits: Float[Tensor, "*batch_latent"]) -> Distribution:
        """The mean-field law with these logits; events are single latents, so `log_prob` has shape [..., N]."""
        if self.kind == "binary":
            return Bernoulli(logits=logits, validate_args=False)
        return OneHotCategorical(logits=logits, validate_args=False)

    def kl(
        self, logits: Float[Tensor, "*batch_latent"], prior_logits: Float[Tensor, "*#batch_latent"]
    ) -> Float[Tensor, "..."]:
        """KL(q || p) of the discrete laws with these logits, in closed form: nats a latent, [..., N].

        Finite for all finite logits: `E_q[log q - log p]` with both logarithms taken from the logits, where
        `torch.distributions.kl_divergence` goes through the probabilities and meets 0 and 1.
        """
        if self.kind == "binary":
            return torch.sigmoid(logits) * (logits - prior_logits) - F.softplus(logits) + F.softplus(prior_logits)
        log_q = log_softmax(logits)
        return (log_q.exp() * (log_q - log_softmax(prior_logits))).sum(dim=-1)

    def log_prob(self, logits: Float[Tensor, "..."], codes: Float[Tensor, "*batch_latent"]) -> Float[Tensor, "..."]:
        """Log-probability of whole codes under these logits, nats, summed over N; leading axes broadcast.

        Written as a sum over categories weighted by the code, which that of `torch.distributions.OneHotCategorical` is
        not: it looks the category up, and no gradient would reach the code.
        """
        if self.kind == "binary":
            return (codes * logits - F.softplus(logits)).sum(dim=-1)
        return (codes * log_softmax(logits)).sum(dim=(-2, -1))

    def entropy(self, logits: Float[Tensor, "*batch_latent"]) -> Float[Tensor, "..."]:
        """H(q) of the discrete law with these logits, in closed form: nats a latent, [..., N], within [0, log K].

        As log K less the KL to the uniform law, which is finite for all finite logits.
        """
        return math.log(self.num_categories) - self.kl(logits, torch.zeros_like(logits))

    def most_probable(self, scores: Float[Tensor, "*batch_latent"]) -> Float[Tensor, "*batch_latent"]:
        """The code with the highest scores, as a tensor: `[scores > 0]`, or one-hot of the (first) arg max.

        Applied to logits it is the mode; applied to logits plus standard noise, an exact sample (Gumbel-max).
        """
        if self.kind == "binary":
            return (scores > 0).to(scores.dtype)
        return F.one_hot(scores.argmax(dim=-1), self.num_categories).to(scores.dtype)

    def margins(self, scores: Float[Tensor, "*batch_latent"]) -> Float[Tensor, "... N"]:
        """How firm each latent's most probable code is: best minus second-best score, for a bit `|score|`."""
        if self.kind == "binary":
            return scores.abs()
        best = scores.topk(2, dim=-1).values
        return best[..., 0] - best[..., 1]

    def indices(self, codes: Float[Tensor, "*batch_latent"]) -> Int[Tensor, "... N"]:
        """The integers a code as a tensor stands for. Inverse of `from_indices`."""
        return codes.long() if self.kind == "binary" else codes.argmax(dim=-1)

    def from_indices(self, indices: Int[Tensor, "... N"]) -> Float[Tensor, "*batch_latent"]:
        """Codes as tensors, float32. Inverse of `indices`."""
        if self.kind == "binary":
            return indices.float()
        return F.one_hot(indices.long(), self.num_categories).float()


def log_softmax(scores: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch K"]:
    """Over the last axis, as `torch.log_softmax`, which for ten categories takes four times as long on a CPU."""
    below = below_greatest(scores)
    return below - below.exp().sum(dim=-1, keepdim=True).log()


def below_greatest(scores: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch K"]:
    """Scores less the greatest of their latent: the same point of the simplex, with 0 the greatest.

    The greatest is a constant to the gradient: what is made of this does not depend on it.
    """
    return scores - scores.detach().amax(dim=-1, keepdim=True)
