"""What every law of the input offers. Shapes: B rows, D input values, P = D x num_outputs_per_value decoder outputs."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

LikelihoodName = Literal["bernoulli", "grey_cross_entropy", "gaussian", "discretised_logistic"]
Unit = Literal["nats", "bits per dimension"]


class Likelihood(nn.Module, ABC):
    """p(x|z) as a function of what the decoder makes of z; values are independent given z.

    The outputs of one value lie together: output `o` of value `d` is `outputs[:, d * num_outputs_per_value + o]`. For
    images, whose rows end in the channel, that is the order a convolution with `channels * num_outputs_per_value`
    channels gives once channels are last. A module, so that a learned scale is trained, moved and saved with the model.
    """

    name: ClassVar[LikelihoodName]
    """As configurations and manifests say it."""
    label: ClassVar[str]
    """As tables and plots say it."""
    is_likelihood: ClassVar[bool] = True
    """Whether exp(log_prob) sums or integrates to 1 over inputs. Where not, no number made of it bounds log p(x)."""
    report_unit: ClassVar[Unit] = "nats"
    """What papers report it in; see `reported`."""

    @property
    def num_outputs_per_value(self) -> int:
        """Numbers the decoder gives for one input value."""
        return 1

    @abstractmethod
    def log_prob(self, outputs: Float[Tensor, "B P"], inputs: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Log-likelihood, log p(inputs | code) in nats, summed over D; a density where the values are real numbers."""

    @abstractmethod
    def mean(self, outputs: Float[Tensor, "B P"]) -> Float[Tensor, "B D"]:
        """E[input | code]."""

    @abstractmethod
    def initial_bias(self, mean: Float[Tensor, " D"]) -> Float[Tensor, " P"]:
        """Outputs that give the data's mean.

        A decoder that starts there need not first learn which pixels are always dark (Maddison, Mnih and Teh 2016,
        appendix D.4).
        """

    @abstractmethod
    def check_inputs(self, inputs: Float[Tensor, "B D"]) -> None:
        """Raises ValueError, naming the first value that this law gives no probability to. One synchronisation."""

    def reported(self, nats: float, num_values: int) -> float:
        """A bound for inputs of `num_values` values, in `report_unit`."""
        return bits_per_dimension(nats, num_values) if self.report_unit == "bits per dimension" else nats


def bits_per_dimension(nats: float, num_values: int) -> float:
    """`nats / (num_values ln 2)`: for 8-bit images 8 is what the uniform law pays, and comparable across sizes."""
    return nats / (num_values * math.log(2))


def refuse_first(wrong: Tensor, inputs: Float[Tensor, "B D"], expected: str) -> None:
    """Raises ValueError on the first of `inputs` where `wrong` [B, D] is true."""
    if wrong.any():
        row, value = (int(axis) for axis in wrong.nonzero()[0])
        raise ValueError(
            f"inputs: expected {expected}, got {float(inputs[row, value]):.6g} at row {row}, value {value}"
        )
