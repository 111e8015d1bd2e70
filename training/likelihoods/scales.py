"""Learned scales: one for all values, one a channel, or one for each value of each code; never below a minimum."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

ScaleSource = Literal["shared", "channel", "value"]
"""One parameter for all values; one for each channel of an image; or an output of the decoder for each value."""


class LearnedScale(nn.Module):
    """The scale `minimum + exp(raw)`, where `raw` is a parameter or an output of the decoder.

    Bounded below, since without a bound a law on real numbers has no greatest likelihood: it grows beyond any limit as
    the scale of a value that is reproduced exactly, say of an always dark pixel, goes to 0. The bound is smooth; near
    it the gradient becomes small, but not 0. `log(minimum + exp(raw))` is written as `log minimum + softplus(raw - log
    minimum)`, which overflows nowhere.
    """

    def __init__(self, source: ScaleSource, *, input_shape: tuple[int, ...], initial: float, minimum: float) -> None:
        """Starts at `initial`, above `minimum`. Vectors and images [height, width] count as of one channel."""
        super().__init__()
        if not 0 < minimum < initial:
            raise ValueError(f"minimum_scale: expected more than 0 and less than {initial:g}, got {minimum:g}")
        self.log_minimum = math.log(minimum)
        self.initial_raw = math.log(initial - minimum)
        num_scales = {"shared": 1, "channel": input_shape[2] if len(input_shape) == 3 else 1, "value": 0}[source]
        self.raw = nn.Parameter(torch.full((num_scales,), self.initial_raw)) if num_scales else None

    @property
    def num_outputs_per_value(self) -> int:
        """2 when the decoder gives location and `raw` of each value, 1 when it gives the location alone."""
        return 2 if self.raw is None else 1

    def split(self, outputs: Float[Tensor, "B P"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "#B D"]]:
        """Locations, and logarithms of scales: [B, D] when the decoder gives them, [1, D] when the rows share them."""
        if self.raw is None:
            locations, raw = outputs.unflatten(-1, (-1, 2)).unbind(dim=-1)
        else:
            locations = outputs
            # Values of a row are height, width, channel: the channel changes fastest.
            raw = self.raw.repeat(1, outputs.shape[-1] // len(self.raw))
        return locations, self.log_minimum + F.softplus(raw - self.log_minimum)

    def initial_outputs(self, locations: Float[Tensor, " D"]) -> Float[Tensor, " P"]:
        """Outputs that `split` makes these locations of, and the initial scale."""
        if self.raw is not None:
            return locations.clone()
        return torch.stack([locations, torch.full_like(locations, self.initial_raw)], dim=-1).flatten()
