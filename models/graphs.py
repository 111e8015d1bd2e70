"""The signatures of a model's ONNX graphs: what training writes and the service runs.

    encoder   inputs [B, D]                                       -> logits [B, *latent], codes [B, N],
                                                                     and parameters [B, *latent, P] where P > 1
    sampler   logits [B, *latent], or parameters where P > 1,
              noise [B, *latent], temperature,
              relaxation_temperature [B]                          -> codes [B, N], relaxed [B, *latent],
                                                                     probabilities [B, *latent], margins [B, N]
    decoder   relaxed [B, *latent] (a code: 0/1 or one-hot)       -> outputs [B, D]
    prior     relaxed [B, *latent] (a code: 0/1 or one-hot)       -> logits [B, *latent]

`*latent` is N for binary and N, K for categorical codes; B is dynamic in every graph. Codes are the smallest unsigned
integers that hold K - 1, everything else is float32. No graph holds a random operator: noise and temperatures are
inputs, a temperature a row, so that rows of different requests can share a run.

The encoder's `logits` are those of the code's law, the posterior, whatever the relaxation; its `codes` are the most
probable ones (temperature 0), so that the commonest request is one run. With eps the noise of `models.relaxations`, T
`temperature` and tau `relaxation_temperature`, the sampler is

    codes = most probable of scores, [scores > 0] for bits
    margins = best score - second-best score, |scores| for bits
    relaxed = sigmoid(scores / tau) for bits, softmax(scores / tau) for categories
    probabilities = sigmoid(logits) or softmax(logits): the posterior's, whatever T

    relaxation                        P   scores                                   law of the codes at T
    concrete, binary_concrete         1   phi + T eps                              softmax or sigmoid of phi / T
    logistic_normal                   2   u + T s eps                              Phi(u / (T s))
    kumaraswamy                       2   logit (1 - (1 - v)^(1/b))^(1/a),         sigmoid(logits / T)
                                          v = sigmoid(T eps)
    hard_concrete, hard_kumaraswamy   those of binary_concrete and kumaraswamy; their relaxed value is stretched,
                                      clamp(-0.1 + 1.2 sigmoid(scores / tau), 0, 1), so 0 and 1 occur exactly

(Maddison, Mnih and Teh 2016, arXiv:1611.00712; Jang, Gu and Poole 2016, arXiv:1611.01144; Aziz 2018, equation 10 at
T = 1; Louizos, Welling and Kingma 2018, arXiv:1712.01312; Bastings, Aziz and Titov 2019, arXiv:1905.08160.) At T = 1
all codes are exact samples of the posterior. Elsewhere their law is softmax(logits / T) but for logistic_normal, where
T widens a normal law and not a logistic one: logits / T and the log-odds of Phi(u / (T s)) agree at T = 1 alone.

The `prior` is there where the prior is autoregressive: the logits of each latent given those before it, which alone
they depend on. Codes are drawn latent by latent, one run each.
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
    """The signature that each of the model's graphs must have, in the order of `manifest.roles`."""
    latent, latents, size = manifest.latent_shape, (manifest.num_latents,), (manifest.input.size,)
    has_parameters = manifest.parameter_shape != latent
    logits = TensorSpec("logits", "float32", latent)
    codes = TensorSpec("codes", manifest.layout.dtype.name, latents)
    relaxed = TensorSpec("relaxed", "float32", latent)
    parameters = TensorSpec("parameters", "float32", manifest.parameter_shape) if has_parameters else logits
    described: dict[Role, Signature] = {
        "encoder": Signature(
            (TensorSpec("inputs", "float32", size),),
            (logits, codes, parameters) if has_parameters else (logits, codes),
        ),
        "sampler": Signature(
            (
                parameters,
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
        "prior": Signature((relaxed,), (logits,)),
    }
    return {role: described[role] for role in manifest.roles}
