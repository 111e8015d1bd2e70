"""Real values with independent Gaussian noise of a learned scale."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from training.likelihoods.interface import Likelihood, refuse_first
from training.likelihoods.scales import LearnedScale, ScaleSource

INITIAL_SCALE = 1 / math.sqrt(12)
"""The standard deviation of the uniform law on [0, 1], where inputs lie: as wide as knowing nothing."""
MINIMUM_SCALE = 1 / 255
"""A step of an 8-bit value: what is finer describes the rounding, not the picture."""


class GaussianLikelihood(Likelihood):
    """Independent Gaussian values: location from the decoder, standard deviation learned.

    Shared by all values, the standard deviation settles at the root of the mean squared error, so that nobody has to
    choose a weight of reconstruction against rate (Rybkin, Daniilidis and Levine 2020, arXiv:2006.13202). `log_prob`
    is a density with respect to the inputs as they are: it can be above 0, it depends on their unit, and on values
    that were rounded it must not stand beside the probability of a discrete law.
    """

    name = "gaussian"
    label = "Gaussian density, learned scale"

    def __init__(
        self, input_shape: tuple[int, ...], *, scale: ScaleSource = "shared", minimum_scale: float = MINIMUM_SCALE
    ) -> None:
        """Raises ValueError unless `minimum_scale`, a standard deviation, is above 0 and below the initial scale."""
        super().__init__()
        self.scale = LearnedScale(scale, input_shape=input_shape, initial=INITIAL_SCALE, minimum=minimum_scale)

    @property
    def num_outputs_per_value(self) -> int:
        return self.scale.num_outputs_per_value

    def log_prob(self, outputs: Float[Tensor, "B P"], inputs: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Log-density of the inputs in nats, summed over D, with its constant `-D/2 log(2 pi)`."""
        locations, log_scales = self.scale.split(outputs)
        standardised = (inputs - locations) * torch.exp(-log_scales)
        return (-0.5 * standardised**2 - log_scales - 0.5 * math.log(2 * math.pi)).sum(dim=-1)

    def mean(self, outputs: Float[Tensor, "B P"]) -> Float[Tensor, "B D"]:
        """E[input | code], a real number: nothing keeps it within the range of the inputs."""
        return self.scale.split(outputs)[0]

    def initial_bias(self, mean: Float[Tensor, " D"]) -> Float[Tensor, " P"]:
        return self.scale.initial_outputs(mean)

    def check_inputs(self, inputs: Float[Tensor, "B D"]) -> None:
        refuse_first(~torch.isfinite(inputs), inputs, "finite values")
