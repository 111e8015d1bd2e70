"""What a served model's tensors are called, and what the server says of itself and of them.

A model of the repository is one model of the protocol. What is done with a request follows from the tensor it brings:

    tensor      does                     outputs that can be asked for
    inputs      encode, reconstruct      codes, relaxed, probabilities, logits, margins, outputs, mean_squared_error
    codes       decode                   outputs
    relaxed     decode                   outputs
    none        generate                 codes, relaxed, outputs

Shapes: B rows, N latents, K categories; `*latent` is N (binary) or N, K (categorical).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from models.manifest import Manifest
from service.open_inference.datatypes import FLOATS, INTEGERS, datatype_of

SERVER_NAME = "latent-codes"
PLATFORM = "onnxruntime_onnx"
"""What Triton calls ONNX graphs run by ONNX Runtime."""

EXTENSIONS = ("binary_tensor_data", "parameters", "statistics")
"""Those always there."""
REPOSITORY_EXTENSION = "model_repository"

INPUTS = ("inputs", "codes", "relaxed")
OUTPUTS = ("codes", "relaxed", "probabilities", "logits", "margins", "outputs", "mean_squared_error")
AVAILABLE: dict[str | None, tuple[str, ...]] = {
    "inputs": OUTPUTS,
    "codes": ("outputs",),
    "relaxed": ("outputs",),
    None: ("codes", "relaxed", "outputs"),
}
"""Outputs that a request with this input tensor, or with none, can ask for."""


class Tensor(NamedTuple):
    """An input or output; `row_shape` leaves out the leading axis of rows."""

    name: str
    datatype: str
    row_shape: tuple[int, ...]
    accepted: tuple[str, ...]
    """Of an input: the datatypes in which it may come, the first of them being `datatype`'s kind."""


def inputs_of(manifest: Manifest) -> dict[str, Tensor]:
    """The input tensors by name. A request brings one of them, or none."""
    return {
        "inputs": Tensor("inputs", "FP32", manifest.input.shape, FLOATS),
        "codes": Tensor("codes", datatype_of(manifest.layout.dtype), (manifest.num_latents,), INTEGERS),
        "relaxed": Tensor("relaxed", "FP32", manifest.latent_shape, FLOATS),
    }


def outputs_of(manifest: Manifest) -> dict[str, Tensor]:
    """The output tensors by name, of a single sample; with more, an axis of samples follows the rows."""
    latent, latents = manifest.latent_shape, (manifest.num_latents,)
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "codes": (datatype_of(manifest.layout.dtype), latents),
        "relaxed": ("FP32", latent),
        "probabilities": ("FP32", latent),
        "logits": ("FP32", latent),
        "margins": ("FP32", latents),
        "outputs": ("FP32", manifest.input.shape),
        "mean_squared_error": (datatype_of(np.dtype(np.float64)), ()),
    }
    return {name: Tensor(name, *shapes[name], accepted=()) for name in OUTPUTS}


def server_metadata(version: str, *, has_repository: bool) -> dict[str, Any]:
    """`GET /v2`."""
    extensions = [*EXTENSIONS, *([REPOSITORY_EXTENSION] if has_repository else [])]
    return {"name": SERVER_NAME, "version": version, "extensions": extensions}


def model_metadata(manifest: Manifest, versions: Sequence[int]) -> dict[str, Any]:
    """`GET /v2/models/{model}`. A dimension of -1 is the number of rows."""
    return {
        "name": manifest.name,
        "versions": [str(version) for version in versions],
        "platform": PLATFORM,
        "inputs": [_described(tensor) for tensor in inputs_of(manifest).values()],
        "outputs": [_described(tensor) for tensor in outputs_of(manifest).values()],
    }


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": [-1, *tensor.row_shape]}
