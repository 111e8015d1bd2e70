"""What a model's answers are, as arrays. Shapes as in `service.engine`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes
from service.checks import Floats


@dataclass(frozen=True)
class Encoding:
    """What an input became; None where it was not asked for."""

    seed: int | None
    """What the noise was drawn with; at temperature 0, where none is drawn, the seed given."""
    codes: Codes | None = None
    """[B, N] or [B, S, N]"""
    relaxed: Floats | None = None
    """[B, *latent] or [B, S, *latent]"""
    probabilities: Floats | None = None
    """[B, *latent]: of the posterior, softmax or sigmoid of the logits, whatever the temperature."""
    logits: Floats | None = None
    """[B, *latent]"""
    margins: Floats | None = None
    """[B, N] or [B, S, N]: best minus second-best score, for a bit the absolute score."""
    near_ties: NDArray[np.bool_] | None = None
    """[B] or [B, S]: whether a margin is so small that another batch, on this provider, might decide otherwise."""


@dataclass(frozen=True)
class Reconstruction:
    """Inputs as they come back through their codes."""

    encoding: Encoding
    outputs: Floats
    """[B, *input] or [B, S, *input]"""
    mean_squared_error: NDArray[np.float64]
    """[B] or [B, S]: over the D values of an input."""


@dataclass(frozen=True)
class Generation:
    """Codes drawn from the prior, and what they decode to; here B counts the codes drawn."""

    seed: int | None
    outputs: Floats
    """[B, *input]"""
    codes: Codes | None = None
    """[B, N]"""
    relaxed: Floats | None = None
    """[B, *latent]"""
