"""Values of 0 and 1, and the cross-entropy that is often put in their place."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from training.likelihoods.interface import Likelihood, refuse_first


class BernoulliLikelihood(Likelihood):
    """Independent Bernoulli values; the decoder's outputs are their log-odds. For inputs of 0 and 1 only."""

    name = "bernoulli"
    label = "Bernoulli"

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
        """Log-odds of the data's mean, each value kept within [0.001, 0.999] so that they stay small."""
        return torch.logit(mean.clamp(1e-3, 1 - 1e-3))

    def check_inputs(self, inputs: Float[Tensor, "B D"]) -> None:
        wrong = (inputs != 0) & (inputs != 1)
        refuse_first(wrong, inputs, "values of 0 and 1, as a Bernoulli likelihood needs (see data.binarization)")


class GreyCrossEntropy(BernoulliLikelihood):
    """Binary cross-entropy on values anywhere in [0, 1]: no likelihood, for comparison with papers that use it.

    The Bernoulli formula without its normalisation: over x in [0, 1] its exponential integrates to less than 1, by a
    factor that depends on the code (Loaiza-Ganem and Cunningham 2019, arXiv:1907.06845). What is trained and logged
    with it bounds nothing, and cannot stand beside numbers from binarised data.
    """

    name = "grey_cross_entropy"
    label = "binary cross-entropy on grey values (no likelihood)"
    is_likelihood = False

    def check_inputs(self, inputs: Float[Tensor, "B D"]) -> None:
        # A comparison with NaN is false.
        refuse_first(~((inputs >= 0) & (inputs <= 1)), inputs, "values within [0, 1]")
