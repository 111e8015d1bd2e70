"""The 256 values of 8-bit images: a logistic variable, rounded."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from training.likelihoods.interface import Likelihood, refuse_first
from training.likelihoods.scales import LearnedScale, ScaleSource

STEP = 1 / 255
"""Distance of neighbouring values: inputs are k/255 for k in 0..255."""
INITIAL_SCALE = 1 / (2 * math.pi)
"""The logistic law has standard deviation `scale pi / sqrt(3)`: here that of the uniform law on [0, 1]."""
MINIMUM_SCALE = STEP / 10
"""Gives a value at its location 98.7 % of the mass: almost certain, and still with a gradient."""

_GAUSS_LEGENDRE = ((0.5 - math.sqrt(0.15), 5 / 18), (0.5, 8 / 18), (0.5 + math.sqrt(0.15), 5 / 18))
"""Nodes and weights on [0, 1]: exact for polynomials up to degree 5."""


class DiscretisedLogisticLikelihood(Likelihood):
    """Independent logistic values, rounded to the nearest k/255; all that lies outside [0, 1] goes to its ends.

    P(x) = sigmoid((x + 1/510 - location) / scale) - sigmoid((x - 1/510 - location) / scale), with the first term 1 at
    x = 1 and the second 0 at x = 0: equation 2 of Salimans, Karpathy, Chen and Kingma 2017, arXiv:1701.05517, with one
    component, and inputs in [0, 1] instead of 0..255. A probability, so comparable with any other code for the same
    images. The channels of a pixel are independent given the code, where the paper conditions them on each other.
    """

    name = "discretised_logistic"
    label = "discretised logistic, 8 bits"
    report_unit = "bits per dimension"

    def __init__(
        self, input_shape: tuple[int, ...], *, scale: ScaleSource = "value", minimum_scale: float = MINIMUM_SCALE
    ) -> None:
        """Raises ValueError unless `minimum_scale`, in units of the inputs, is above 0 and below the initial scale."""
        super().__init__()
        self.scale = LearnedScale(scale, input_shape=input_shape, initial=INITIAL_SCALE, minimum=minimum_scale)

    @property
    def num_outputs_per_value(self) -> int:
        return self.scale.num_outputs_per_value

    def log_prob(self, outputs: Float[Tensor, "B P"], inputs: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Log-likelihood, log p(inputs | code) in nats, summed over D; inputs must be multiples of 1/255.

        With a and b the standardised upper and lower edge of a bin,

            sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)),

        whose three logarithms subtract nothing from nothing however far the bin is from the location: exact where the
        difference itself would be 0, and no switch to a density is needed.
        """
        locations, log_scales = self.scale.split(outputs)
        inverse_scales = torch.exp(-log_scales)
        centre, half_width = (inputs - locations) * inverse_scales, STEP / 2 * inverse_scales
        log_below_upper, log_above_lower = F.logsigmoid(centre + half_width), F.logsigmoid(half_width - centre)
        log_both = torch.log(-torch.expm1(-2 * half_width))
        is_first, is_last = inputs < STEP / 2, inputs > 1 - STEP / 2
        log_probability = (
            log_below_upper.masked_fill(is_last, 0)
            + log_above_lower.masked_fill(is_first, 0)
            + log_both.expand_as(inputs).masked_fill(is_first | is_last, 0)
        )
        return log_probability.sum(dim=-1)

    def mean(self, outputs: Float[Tensor, "B P"]) -> Float[Tensor, "B D"]:
        """E[input | code] to within 1/510, in [0, 1]: the mean of the logistic variable clipped, but not rounded.

        It is the integral of sigmoid((location - t) / scale) over t in [0, 1]. Rounding moves no value by more than
        half a step; when the scale is a step or more, it moves the mean by less than 5e-5.
        """
        locations, log_scales = self.scale.split(outputs)
        inverse_scales = torch.exp(-log_scales)
        # In closed form for a law narrower than the interval. For a wider one the difference loses its digits (and
        # ONNX has no log1p to save them), but the integrand is nearly straight: three nodes miss less than 1e-6.
        rates = inverse_scales.clamp_min(1)
        narrow = (F.softplus(locations * rates) - F.softplus((locations - 1) * rates)) / rates
        wide = sum(weight * torch.sigmoid((locations - node) * inverse_scales) for node, weight in _GAUSS_LEGENDRE)
        return torch.where(inverse_scales < 1, wide, narrow).clamp(0, 1)

    def initial_bias(self, mean: Float[Tensor, " D"]) -> Float[Tensor, " P"]:
        """Outputs that give the data's mean, each value kept within [0.001, 0.999] so that locations stay small.

        The inverse of `mean` at the initial scale: a location at the mean itself would be clipped more on one side.
        """
        m, s = mean.clamp(1e-3, 1 - 1e-3), INITIAL_SCALE
        locations = s * (torch.log(torch.expm1(m / s)) - torch.log(-torch.expm1((m - 1) / s)))
        return self.scale.initial_outputs(locations)

    def check_inputs(self, inputs: Float[Tensor, "B D"]) -> None:
        levels = inputs / STEP
        # float32 keeps k/255 to within 2e-5 of a step. A comparison with NaN is false.
        fits = ((levels - levels.round()).abs() < 1e-3) & (inputs >= 0) & (inputs <= 1)
        refuse_first(~fits, inputs, "the values k/255 of 8-bit images, k in 0..255")
