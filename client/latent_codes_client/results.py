"""What the service's answers become.

Shapes: B rows, S samples, N latents, K categories; `*latent` is N (binary) or N, K (categorical), `*input` the model's
input shape. The axis S is there only where `num_samples` was more than 1. Codes are int64, or strings if a code format
asked for strings: then they have no axis N. Everything else is float32, errors float64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

CodeArray = NDArray[np.int64] | NDArray[np.str_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What inputs became. Arrays that `outputs` did not ask for are None."""

    model: str
    version: int
    seed: int | None
    """What the noise was drawn with, also when the service chose it: the same request with it gives the same codes."""
    codes: CodeArray | None = None
    """[B, N] or [B, S, N]"""
    relaxed: Floats | None = None
    """[B, *latent] or [B, S, *latent]"""
    probabilities: Floats | None = None
    """[B, *latent]: of the posterior, whatever the temperature."""
    logits: Floats | None = None
    """[B, *latent]"""
    margins: Floats | None = None
    """[B, N] or [B, S, N]: best minus second-best score, so how firm each code is."""
    near_ties: NDArray[np.bool_] | None = None
    """[B] or [B, S]: whether the code might have been another in another batch; never on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """What codes decode to."""

    model: str
    version: int
    outputs: Floats
    """[B, *input]"""


@dataclass(frozen=True, kw_only=True)
class Reconstruction(Encoding):
    """What inputs became, and how they come back through their codes."""

    outputs: Floats
    """[B, *input] or [B, S, *input]"""
    mean_squared_error: NDArray[np.float64]
    """[B] or [B, S]: over the values of an input."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Codes drawn from the prior, and what they decode to; here B counts the codes. Arrays not asked for are None."""

    model: str
    version: int
    seed: int | None
    outputs: Floats
    """[B, *input]"""
    codes: CodeArray | None = None
    """[B, N]"""
    relaxed: Floats | None = None
    """[B, *latent]"""


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """One model that is served, as its highest served version describes it."""

    name: str
    version: int | None
    """What a request without a version gets; None if the highest one on disk was refused."""
    versions: tuple[int, ...]
    """Versions that are served."""
    description: str
    kind: Literal["binary", "categorical"]
    num_latents: int
    num_categories: int
    code_bits: int
    """Bits of a packed code."""
    input_shape: tuple[int, ...]
    input_minimum: float
    input_maximum: float
    """Values of an input lie between the two, both included."""
    details: Mapping[str, Any]
    """Everything that the service said, as JSON objects and lists."""


@dataclass(frozen=True, kw_only=True)
class Model(ModelSummary):
    """One version of a model; `details` has its training, metrics and graphs."""

    version: int
    manifest_sha256: str
    """Of the model's manifest, in hexadecimal: which model, to the last bit, makes these codes."""
    provider: str
    """The execution provider of ONNX Runtime that really runs it."""
    relaxation_temperature: float
    """The default of that parameter."""


ResultT = TypeVar("ResultT", Encoding, Decoding, Reconstruction, Generation)


def joined(parts: Sequence[ResultT]) -> ResultT:
    """Answers to consecutive rows as the answer to all of them: arrays one after the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    arrays: dict[str, Any] = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(first)
        if isinstance(getattr(first, field.name), np.ndarray)
    }
    return replace(first, **arrays)
