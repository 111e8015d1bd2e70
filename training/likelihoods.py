"""Laws of the input given a code: what a decoder's outputs mean."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class BernoulliLikelihood:
    """Independent Bernoulli values; the decoder's outputs are their log-odds.

    A likelihood for inputs of 0 and 1 only; on values in between, `log_prob` is a cross-entropy, which bounds nothing.
    """

    name = "bernoulli"

    def log_prob(self, outputs: Float[Tensor, "B D"], inputs: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Log-likelihood, log p(inputs | code) in nats, summed over D."""
        return -F.binary_cross_entropy_with_logits(outputs, inputs, reduction="none").sum(dim=-1)

    def mean(self, outputs: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """E[input | code], in [0, 1]."""
        return torch.sigmoid(outputs)

    def initial_bias(self, mean: Float[Tensor, " D"]) -> Float[Tensor, " D"]:
        """Outputs that give the data's mean, each value kept within [0.001, 0.999] so that the log-odds stay small.

        A decoder that starts there need not first learn which pixels are always dark (Maddison, Mnih and Teh 2016,
        appendix D.4).
        """
        return torch.logit(mean.clamp(1e-3, 1 - 1e-3))
