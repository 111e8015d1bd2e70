"""Two models small enough to read, as ONNX graphs and, a second time, in numpy: the oracle of the service's tests.

A `TinyModel` holds the weights of a two-layer encoder and decoder. `graphs` spells the model in ONNX, operator by
operator, without torch; `logits`, `sample` and `decode` compute the same in numpy, in float64. `publish` writes it to
a model repository with golden vectors from numpy, so that a service serves it only if both spellings agree.

A model may have a logistic-normal relaxation, whose sampler takes two parameters a latent, and any prior: an
autoregressive one is a linear layer, masked.

Shapes: B rows, D input values, N latents, K categories; `*latent` is N (binary) or N, K (categorical).
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.special import expit, log_ndtr, softmax

from models import noise as standard_noise
from models.codes import CodeLayout
from models.graphs import TensorSpec, signatures
from models.manifest import Golden, GraphFile, ImageSpec, InputSpec, Manifest, RelaxationSpec, Role, Tensor
from models.relaxations import RELAXATIONS, STANDARD_NOISE, RelaxationName
from models.repository import Repository, StoredModel

OPSET = 18
_HIDDEN = 16


class Sampled(NamedTuple):
    """What the formula of models.graphs makes of logits and noise."""

    codes: NDArray[np.integer]
    """[B, N]"""
    relaxed: NDArray[np.float64]
    """[B, *latent]"""
    probabilities: NDArray[np.float64]
    """[B, *latent]"""
    margins: NDArray[np.float64]
    """[B, N]"""


@dataclass(frozen=True)
class TinyModel:
    """A model with random weights; `num_categories` 2 and kind "binary" make bits."""

    name: str
    kind: str
    num_latents: int
    num_categories: int
    input_shape: tuple[int, ...]
    image: ImageSpec | None = None
    relaxation_temperature: float = 0.5
    is_logistic_normal: bool = False
    prior: str = "uniform"

    @property
    def size(self) -> int:
        """D."""
        return int(np.prod(self.input_shape))

    @property
    def layout(self) -> CodeLayout:
        return CodeLayout(self.num_latents, self.num_categories)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.num_latents,) if self.kind == "binary" else (self.num_latents, self.num_categories)

    @property
    def relaxation(self) -> RelaxationName:
        if self.is_logistic_normal:
            return "logistic_normal"
        return "binary_concrete" if self.kind == "binary" else "concrete"

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        return (*self.latent_shape, 2) if self.is_logistic_normal else self.latent_shape

    @property
    def noise_name(self) -> standard_noise.NoiseName:
        return RELAXATIONS[self.relaxation].noise

    @property
    def weights(self) -> dict[str, NDArray[np.float32]]:
        """The same for the same name, on every machine."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        wide, num_parameters = int(np.prod(self.latent_shape)), int(np.prod(self.parameter_shape))
        shapes = {
            "encoder_1": (self.size, _HIDDEN),
            "encoder_1_bias": (_HIDDEN,),
            "encoder_2": (_HIDDEN, num_parameters),
            "encoder_2_bias": (num_parameters,),
            "decoder_1": (wide, _HIDDEN),
            "decoder_1_bias": (_HIDDEN,),
            "decoder_2": (_HIDDEN, self.size),
            "decoder_2_bias": (self.size,),
            "prior": (wide, wide),
            "prior_bias": (wide,),
        }
        weights = {name: rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}
        # From latent to latent: only what comes before may be seen.
        latent_of = np.repeat(np.arange(self.num_latents), wide // self.num_latents)
        weights["prior"] *= latent_of[:, None] < latent_of
        return weights

    # The oracle.

    def parameters(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Inputs [B, D] or [B, *input_shape] to logits [B, *latent]; of a logistic-normal, u and log s, [B, N, 2]."""
        rows = np.asarray(inputs, np.float64).reshape(len(inputs), self.size)
        parameters = self._two_layers("encoder", rows).reshape(len(rows), *self.parameter_shape)
        # Between -1 and 1, so that the logits keep their digits when ONNX computes them in float32 from Phi.
        return np.tanh(parameters) if self.is_logistic_normal else parameters

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Inputs [B, D] or [B, *input_shape] to logits [B, *latent]."""
        return self._logits_of(self.parameters(inputs))

    def _logits_of(self, parameters: NDArray[Any]) -> NDArray[Any]:
        if not self.is_logistic_normal:
            return parameters
        deviations = parameters[..., 0] * np.exp(-parameters[..., 1])
        return log_ndtr(deviations) - log_ndtr(-deviations)

    def noise(self, seed: int, num_rows: int, **which: Any) -> NDArray[np.float32]:
        """The noise that the service draws for rows 0, 1, ... of a request: [B, *latent]."""
        return standard_noise.draw(self.noise_name, seed, num_rows, self.latent_shape, **which)

    def prior_noise(self, seed: int, num_rows: int) -> NDArray[np.float32]:
        """The noise that the service generates codes 0, 1, ... of a request with: [B, *latent]."""
        name = STANDARD_NOISE[self.kind]  # type: ignore[index]
        return standard_noise.draw(name, seed, num_rows, self.latent_shape, purpose="prior")

    def sample(
        self,
        parameters: NDArray[Any],
        noise: NDArray[Any] | float = 0.0,
        *,
        temperature: float = 0.0,
        relaxation_temperature: float | None = None,
    ) -> Sampled:
        """The formula of models.graphs, in float64."""
        tau = self.relaxation_temperature if relaxation_temperature is None else relaxation_temperature
        logits, scaled = self._logits_of(parameters), temperature * np.asarray(noise, np.float64)
        if self.is_logistic_normal:
            scores = parameters[..., 0] + scaled * np.exp(parameters[..., 1])
        else:
            scores = parameters + scaled
        if self.kind == "binary":
            return Sampled((scores > 0).astype(np.uint8), expit(scores / tau), expit(logits), np.abs(scores))
        ordered = np.sort(scores, axis=-1)
        return Sampled(
            scores.argmax(axis=-1).astype(self.layout.dtype),
            softmax(scores / tau, axis=-1),
            softmax(logits, axis=-1),
            ordered[..., -1] - ordered[..., -2],
        )

    def encode(self, inputs: NDArray[Any], *, temperature: float = 0.0, seed: int = 0, sample: int = 0) -> Sampled:
        """`sample` of `parameters`, with the noise the service draws for this seed."""
        parameters = self.parameters(inputs)
        return self.sample(parameters, self.noise(seed, len(parameters), sample=sample), temperature=temperature)

    def prior_logits(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Logits [B, *latent] of each latent given those before it in codes [B, N]."""
        corners = self.one_hot(codes).reshape(len(codes), -1)
        weights = {name: weight.astype(np.float64) for name, weight in self.weights.items()}
        seen = {
            "uniform": np.zeros_like(corners),
            "factorised": np.broadcast_to(weights["prior_bias"], corners.shape),
            "autoregressive": corners @ weights["prior"] + weights["prior_bias"],
        }[self.prior]
        return seen.reshape(len(codes), *self.latent_shape)

    def generate(self, noise: NDArray[Any], temperature: float) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
        """Codes [B, N] drawn from the prior with this noise [B, *latent], and their perturbed scores [B, *latent]."""
        codes = np.zeros((len(noise), self.num_latents), self.layout.dtype)
        for latent in range(self.num_latents):
            scores = self.prior_logits(codes) + temperature * noise.astype(np.float64)
            best = scores > 0 if self.kind == "binary" else scores.argmax(axis=-1)
            codes[:, latent] = best[:, latent]
        return codes, scores

    def one_hot(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Codes [B, N] as the corners [B, *latent] that the decoder takes."""
        return np.asarray(codes, np.float64) if self.kind == "binary" else np.eye(self.num_categories)[codes]

    def decode(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Codes [B, N] to outputs [B, *input_shape]."""
        return self.decode_relaxed(self.one_hot(codes))

    def decode_relaxed(self, relaxed: NDArray[Any]) -> NDArray[np.float64]:
        """Relaxed codes [B, *latent] to outputs [B, *input_shape]."""
        rows = np.asarray(relaxed, np.float64).reshape(len(relaxed), -1)
        return expit(self._two_layers("decoder", rows)).reshape(len(rows), *self.input_shape)

    def inputs(self, num_rows: int, seed: int = 0) -> NDArray[np.float32]:
        """Some inputs, [B, *input_shape]."""
        return np.random.default_rng(seed).random((num_rows, *self.input_shape), dtype=np.float32)

    def codes(self, num_rows: int, seed: int = 0) -> NDArray[np.integer]:
        """Some codes, [B, N]."""
        rng = np.random.default_rng(seed)
        return rng.integers(0, self.num_categories, (num_rows, self.num_latents)).astype(self.layout.dtype)

    def _two_layers(self, part: str, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        weights = {name: weight.astype(np.float64) for name, weight in self.weights.items()}
        hidden = np.tanh(rows @ weights[f"{part}_1"] + weights[f"{part}_1_bias"])
        return hidden @ weights[f"{part}_2"] + weights[f"{part}_2_bias"]

    # On disk.

    def manifest(self, graphs: Mapping[Role, bytes], *, num_golden: int = 3) -> Manifest:
        """A manifest that vouches for `graphs`, with golden vectors from the oracle."""
        inputs = self.inputs(num_golden, seed=1).reshape(num_golden, self.size)
        logits, parameters = self.logits(inputs), self.parameters(inputs)
        seed, temperature = 11, 0.8
        codes = self.sample(parameters).codes
        sampled = self.sample(parameters, self.noise(seed, num_golden), temperature=temperature)
        return Manifest(
            name=self.name,
            version=1,
            description=f"A {self.kind} model of the tests, with random weights.",
            kind=self.kind,  # type: ignore[arg-type]
            num_latents=self.num_latents,
            num_categories=self.num_categories,
            input=InputSpec(shape=self.input_shape, minimum=0.0, maximum=1.0, image=self.image),
            likelihood="bernoulli",
            relaxation=RelaxationSpec(name=self.relaxation, noise=self.noise_name),
            estimator="none",
            relaxation_temperature=self.relaxation_temperature,
            prior=self._prior_spec(),  # type: ignore[arg-type]
            metrics=(),
            training={  # type: ignore[arg-type]
                "data": {"name": "none"},
                "config": {},
                "num_steps": 0,
                "duration_seconds": 0.0,
                "device": "cpu",
            },
            libraries={"onnx": onnx.__version__},
            created=datetime(2026, 1, 1, tzinfo=UTC),
            graphs={role: GraphFile.of(f"{role}.onnx", graph) for role, graph in graphs.items()},
            golden=Golden(
                inputs=Tensor.of(inputs),
                logits=Tensor.of(logits.astype(np.float32)),
                codes=Tensor.of(codes),
                seed=seed,
                temperature=temperature,
                sampled_codes=Tensor.of(sampled.codes),
                outputs=Tensor.of(self.decode(codes).reshape(num_golden, self.size).astype(np.float32)),
                prior_logits=Tensor.of(self.prior_logits(codes).astype(np.float32))
                if self.prior == "autoregressive"
                else None,
            ),
        )

    def _prior_spec(self) -> dict[str, Any]:
        if self.prior != "factorised":
            return {"name": self.prior}
        logits = self.prior_logits(np.zeros((1, self.num_latents), np.uint8))[0]
        return {"name": "factorised", "logits": Tensor.of(logits.astype(np.float32))}

    def graphs(self) -> dict[Role, bytes]:
        """The ONNX graphs, serialised."""
        return {role: model.SerializeToString() for role, model in self.onnx_models().items()}

    def onnx_models(self) -> dict[Role, onnx.ModelProto]:
        """The ONNX graphs, for a test to damage."""
        graphs: dict[Role, onnx.ModelProto] = {
            "encoder": self._encoder(),
            "sampler": self._sampler(),
            "decoder": self._decoder(),
        }
        return {**graphs, "prior": self._prior()} if self.prior == "autoregressive" else graphs

    def publish(self, repository: Repository) -> StoredModel:
        """Write the model as the next version of its name."""
        graphs = self.graphs()
        return repository.publish(self.manifest(graphs), graphs)

    def _encoder(self) -> onnx.ModelProto:
        nodes = self._layers("encoder", "inputs", "flat")
        shape = {"parameter_shape": np.array([-1, *self.parameter_shape])}
        if not self.is_logistic_normal:
            nodes.append(helper.make_node("Reshape", ["flat", "parameter_shape"], ["logits"]))
            return self._model("encoder", nodes + self._codes_of("logits"), shape)
        nodes += [
            helper.make_node("Reshape", ["flat", "parameter_shape"], ["unbounded"]),
            helper.make_node("Tanh", ["unbounded"], ["parameters"]),
            *self._logistic_normal(),
            *self._codes_of("mean"),
        ]
        return self._model("encoder", nodes, shape | self._constants())

    def _constants(self) -> dict[str, NDArray[Any]]:
        return {"first": np.array(0), "second": np.array(1), "one": np.float32(1), "root": np.float32(np.sqrt(2))}

    def _logistic_normal(self) -> list[onnx.NodeProto]:
        """`parameters` to `mean`, `deviation` and `logits`: log Phi(x) - log Phi(-x) by way of erf."""
        return [
            helper.make_node("Gather", ["parameters", "first"], ["mean"], axis=-1),
            helper.make_node("Gather", ["parameters", "second"], ["log_deviation"], axis=-1),
            helper.make_node("Exp", ["log_deviation"], ["deviation"]),
            helper.make_node("Div", ["mean", "deviation"], ["deviations"]),
            helper.make_node("Div", ["deviations", "root"], ["scaled_deviations"]),
            helper.make_node("Erf", ["scaled_deviations"], ["erf"]),
            helper.make_node("Add", ["one", "erf"], ["above"]),
            helper.make_node("Sub", ["one", "erf"], ["below"]),
            helper.make_node("Div", ["above", "below"], ["odds"]),
            helper.make_node("Log", ["odds"], ["logits"]),
        ]

    def _prior(self) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Flatten", ["relaxed"], ["flat_relaxed"], axis=1),
            helper.make_node("Gemm", ["flat_relaxed", "prior", "prior_bias"], ["flat"]),
            helper.make_node("Reshape", ["flat", "latent_shape"], ["logits"]),
        ]
        return self._model("prior", nodes, {"latent_shape": np.array([-1, *self.latent_shape])})

    def _sampler(self) -> onnx.ModelProto:
        axes = list(range(1, 1 + len(self.latent_shape)))
        nodes = [
            helper.make_node("Unsqueeze", ["temperature", "latent_axes"], ["row_temperature"]),
            helper.make_node("Unsqueeze", ["relaxation_temperature", "latent_axes"], ["row_relaxation_temperature"]),
            helper.make_node("Mul", ["row_temperature", "noise"], ["scaled_noise"]),
        ]
        constants: dict[str, NDArray[Any]] = {"latent_axes": np.array(axes)}
        if self.is_logistic_normal:
            nodes += [
                *self._logistic_normal(),
                helper.make_node("Mul", ["scaled_noise", "deviation"], ["widened_noise"]),
                helper.make_node("Add", ["mean", "widened_noise"], ["scores"]),
            ]
            constants |= self._constants()
        else:
            nodes.append(helper.make_node("Add", ["logits", "scaled_noise"], ["scores"]))
        nodes += self._codes_of("scores")
        if self.kind == "binary":
            nodes += [
                helper.make_node("Div", ["scores", "row_relaxation_temperature"], ["sharpened"]),
                helper.make_node("Sigmoid", ["sharpened"], ["relaxed"]),
                helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
                helper.make_node("Abs", ["scores"], ["margins"]),
            ]
        else:
            # The best score is taken off before the division: a small relaxation temperature then overflows to
            # -inf, never to inf - inf.
            nodes += [
                helper.make_node("TopK", ["scores", "two"], ["best_two", "best_two_indices"], axis=-1),
                helper.make_node("Split", ["best_two"], ["best", "second"], axis=-1, num_outputs=2),
                helper.make_node("Sub", ["best", "second"], ["unsqueezed_margins"]),
                helper.make_node("Squeeze", ["unsqueezed_margins", "last_axis"], ["margins"]),
                helper.make_node("Sub", ["scores", "best"], ["below_best"]),
                helper.make_node("Div", ["below_best", "row_relaxation_temperature"], ["sharpened"]),
                helper.make_node("Softmax", ["sharpened"], ["relaxed"], axis=-1),
                helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
            ]
            constants |= {"two": np.array([2]), "last_axis": np.array([-1])}
        return self._model("sampler", nodes, constants)

    def _decoder(self) -> onnx.ModelProto:
        nodes = [helper.make_node("Flatten", ["relaxed"], ["flat_relaxed"], axis=1)]
        nodes += self._layers("decoder", "flat_relaxed", "output_logits")
        nodes.append(helper.make_node("Sigmoid", ["output_logits"], ["outputs"]))
        return self._model("decoder", nodes, {})

    def _layers(self, part: str, source: str, target: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Gemm", [source, f"{part}_1", f"{part}_1_bias"], [f"{part}_before_tanh"]),
            helper.make_node("Tanh", [f"{part}_before_tanh"], [f"{part}_hidden"]),
            helper.make_node("Gemm", [f"{part}_hidden", f"{part}_2", f"{part}_2_bias"], [target]),
        ]

    def _codes_of(self, scores: str) -> list[onnx.NodeProto]:
        if self.kind == "binary":
            first = helper.make_node("Greater", [scores, "zero"], ["wide_codes"])
        else:
            first = helper.make_node("ArgMax", [scores], ["wide_codes"], axis=-1, keepdims=0)
        to = helper.np_dtype_to_tensor_dtype(self.layout.dtype)
        return [first, helper.make_node("Cast", ["wide_codes"], ["codes"], to=to)]

    def _model(self, role: Role, nodes: Sequence[onnx.NodeProto], constants: dict[str, Any]) -> onnx.ModelProto:
        signature = signatures(self._unpublished())[role]
        used = {name for node in nodes for name in node.input}
        constants = {**self.weights, "zero": np.float32(0), **constants}
        graph = helper.make_graph(
            nodes,
            role,
            [_value_info(spec) for spec in signature.inputs],
            [_value_info(spec) for spec in signature.outputs],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)

    def _unpublished(self) -> Manifest:
        """A manifest of this model's shapes; what it says about graphs is not read."""
        roles: list[Role] = ["encoder", "sampler", "decoder"]
        if self.prior == "autoregressive":
            roles.append("prior")
        return self.manifest(dict.fromkeys(roles, b"not written yet"), num_golden=1)


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, dtype or TensorProto.UNDEFINED, ["batch", *spec.shape])


def manifest_of(model: TinyModel) -> Manifest:
    """Of a model whose graphs are never opened."""
    return model.manifest(dict.fromkeys(("encoder", "sampler", "decoder"), b"never opened"), num_golden=1)


TINY_BINARY = TinyModel("tiny-binary", "binary", 12, 2, (4, 4), ImageSpec(mode="L", height=4, width=4))
"""12 bits for a 4x4 image."""

TINY_CATEGORICAL = TinyModel("tiny-categorical", "categorical", 5, 6, (10,))
"""Five variables of six values for a vector of ten."""

TINY_MODELS = (TINY_BINARY, TINY_CATEGORICAL)

TINY_LAWS = (
    TinyModel("tiny-factorised", "categorical", 3, 4, (6,), prior="factorised"),
    TinyModel("tiny-autoregressive", "categorical", 3, 4, (6,), prior="autoregressive"),
    TinyModel("tiny-normal", "binary", 7, 2, (6,), is_logistic_normal=True, prior="factorised"),
    TinyModel("tiny-normal-autoregressive", "binary", 7, 2, (6,), is_logistic_normal=True, prior="autoregressive"),
)
"""Models whose priors are learned, and whose samplers do not all take logits."""
