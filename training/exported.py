"""Exported graphs on ONNX Runtime, as the service will run them on a CPU: one thread, float32."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnxruntime
from jaxtyping import Float32, UInt

from models.graphs import Signature, TensorSpec
from models.manifest import Role

_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(uint16)": "uint16"}


class Encoded(NamedTuple):
    logits: Float32[np.ndarray, "B *latent"]
    codes: UInt[np.ndarray, "B N"]
    parameters: Float32[np.ndarray, "B *shape"]
    """What the sampler takes: the logits themselves, where they are the posterior's only parameters."""


class Sampled(NamedTuple):
    codes: UInt[np.ndarray, "B N"]
    relaxed: Float32[np.ndarray, "B *latent"]
    probabilities: Float32[np.ndarray, "B *latent"]
    margins: Float32[np.ndarray, "B N"]


class ExportedModel:
    """The graphs of a model; arrays in, arrays out. Raises what ONNX Runtime raises on a graph it cannot run."""

    def __init__(self, graphs: Mapping[Role, bytes]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._sessions = {
            role: onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            for role, graph in graphs.items()
        }

    def signatures(self) -> dict[Role, Signature]:
        """Names, types and shapes of each graph's inputs and outputs, in order, as its file declares them."""
        return {
            role: Signature(
                tuple(_spec(value) for value in session.get_inputs()),
                tuple(_spec(value) for value in session.get_outputs()),
            )
            for role, session in self._sessions.items()
        }

    def encode(self, inputs: Float32[np.ndarray, "B D"]) -> Encoded:
        logits, codes, *parameters = self._sessions["encoder"].run(None, {"inputs": inputs})
        return Encoded(logits, codes, parameters[0] if parameters else logits)

    def sample(
        self,
        parameters: Float32[np.ndarray, "B *shape"],
        noise: Float32[np.ndarray, "B *latent"],
        temperature: Float32[np.ndarray, " B"],
        relaxation_temperature: Float32[np.ndarray, " B"],
    ) -> Sampled:
        session = self._sessions["sampler"]
        feeds = {
            session.get_inputs()[0].name: parameters,
            "noise": noise,
            "temperature": temperature,
            "relaxation_temperature": relaxation_temperature,
        }
        return Sampled(*session.run(list(Sampled._fields), feeds))

    def decode(self, relaxed: Float32[np.ndarray, "B *latent"]) -> Float32[np.ndarray, "B D"]:
        return self._sessions["decoder"].run(["outputs"], {"relaxed": relaxed})[0]

    @property
    def has_prior(self) -> bool:
        """Whether there is a graph of the prior."""
        return "prior" in self._sessions

    def prior_logits(self, relaxed: Float32[np.ndarray, "B *latent"]) -> Float32[np.ndarray, "B *latent"]:
        """Of each latent given those before it in codes as tensors."""
        return self._sessions["prior"].run(["logits"], {"relaxed": relaxed})[0]


def _spec(value: onnxruntime.NodeArg) -> TensorSpec:
    """A dynamic axis has a name for its size; only the leading one may, and it is left out."""
    return TensorSpec(value.name, _DTYPES.get(value.type, value.type), tuple(value.shape[1:]))
