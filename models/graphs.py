"""The signatures of a model's three ONNX graphs: what training writes and the service runs.

    encoder   inputs [B, D]                                             -> logits [B, *latent], codes [B, N]
    sampler   logits, noise [B, *latent], temperature,
              relaxation_temperature [B]                                -> codes [B, N], relaxed [B, *latent],
                                                                           probabilities [B, *latent], margins [B, N]
    decoder   relaxed [B, *latent] (a code: 0/1 or one-hot)             -> outputs [B, D]

`*latent` is N for binary and N, K for categorical codes; B is dynamic in every graph. Codes are the smallest unsigned
integers that hold K - 1, everything else is float32. The encoder's `codes` are the most probable ones (temperature 0),
so that the commonest request is one run. No graph holds a random operator: noise and temperatures are inputs, a
temperature a row, so that rows of different requests can share a run. With phi the logits, T `temperature`, tau
`relaxation_temperature` and eps the noise:

    scores = phi + T eps
    categorical: codes = argmax(scores)   relaxed = softmax(scores / tau)   probabilities = softmax(phi)
                 margins = best score - second-best score
    binary:      codes = [scores > 0]     relaxed = sigmoid(scores / tau)   probabilities = sigmoid(phi)
                 margins = |scores|

(Maddison, Mnih and Teh 2016, arXiv:1611.00712; Jang, Gu and Poole 2016, arXiv:1611.01144; Aziz 2018, equation 10 at
T = 1.) `probabilities` are those of the posterior, whatever T; the law of `codes` is softmax(phi / T).
"""

from dataclasses import dataclass

from models.manifest import Manifest, Role


@dataclass(frozen=True)
class TensorSpec:
    """A graph's input or output; `shape` leaves out the leading batch axis."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of one graph, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def signatures(manifest: Manifest) -> dict[Role, Signature]:
    """The signature that each of the model's graphs must have."""
    latent, latents, size = manifest.latent_shape, (manifest.num_latents,), (manifest.input.size,)
    logits = TensorSpec("logits", "float32", latent)
    codes = TensorSpec("codes", manifest.layout.dtype.name, latents)
    relaxed = TensorSpec("relaxed", "float32", latent)
    return {
        "encoder": Signature((TensorSpec("inputs", "float32", size),), (logits, codes)),
        "sampler": Signature(
            (
                logits,
                TensorSpec("noise", "float32", latent),
                TensorSpec("temperature", "float32", ()),
                TensorSpec("relaxation_temperature", "float32", ()),
            ),
            (
                codes,
                relaxed,
                TensorSpec("probabilities", "float32", latent),
                TensorSpec("margins", "float32", latents),
            ),
        ),
        "decoder": Signature((relaxed,), (TensorSpec("outputs", "float32", size),)),
    }
