"""A model as ONNX graphs, with the names, types and formulas of `models.graphs`.

Each graph is a small module traced by torch's exporter with a dynamic batch axis. What a file does not need is left
out, so that it is the same wherever it was made: the exporter records in every node the stack, with paths, of the
machine it ran on.
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from itertools import chain

import torch
from jaxtyping import Float
from onnx import ModelProto, helper
from torch import Tensor, nn

from models.manifest import MAX_GRAPH_BYTES, Role
from training.errors import ExportRefused
from training.latents import LatentConfig
from training.likelihoods.discretised_logistic import DiscretisedLogisticLikelihood
from training.model import DiscreteVAE
from training.posteriors import Posterior
from training.priors import AutoregressivePrior
from training.priors.made import MaskedLinear

OPSET = 18
PRODUCER = "latent-codes"
_CODE_DTYPES = {"uint8": torch.uint8, "uint16": torch.uint16}
_RANDOM_OPERATORS = frozenset(
    {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


class EncoderGraph(nn.Module):
    """Inputs to the posterior's logits, its most probable codes and, where there are several a latent, parameters."""

    def __init__(self, model: DiscreteVAE) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.relaxation = model.relaxation
        self.latent = model.latent

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        parameters = self.encoder(inputs)
        posterior = _precise(self.relaxation, parameters, self.latent)
        if self.relaxation.num_parameters == 1:
            return posterior.logits, _indices(posterior.logits, self.latent)
        # Not [logits > 0], which says the same in exact arithmetic: the codes of the sampler at temperature 0.
        scores = posterior.scores(torch.zeros_like(posterior.logits), 0.0)
        return posterior.logits.float(), _indices(scores, self.latent), parameters


class SamplerGraph(nn.Module):
    """Parameters (or logits), noise and two temperatures a row to codes, relaxed codes, probabilities and margins."""

    def __init__(self, model: DiscreteVAE) -> None:
        super().__init__()
        self.relaxation = model.relaxation
        self.latent = model.latent

    def forward(
        self, parameters: Tensor, noise: Tensor, temperature: Tensor, relaxation_temperature: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        a_row_each = (-1, *(1 for _ in self.latent.shape))
        posterior = _precise(self.relaxation, parameters, self.latent)
        dtype = posterior.parameters.dtype
        scores = posterior.scores(noise.to(dtype), temperature.reshape(a_row_each).to(dtype))
        relaxed = posterior.relaxed(scores, relaxation_temperature.reshape(a_row_each).to(dtype))
        logits = posterior.logits
        probabilities = torch.sigmoid(logits) if self.latent.kind == "binary" else torch.softmax(logits, dim=-1)
        return (
            _indices(scores, self.latent),
            relaxed.float(),
            probabilities.float(),
            self.latent.margins(scores).float(),
        )


class DecoderGraph(nn.Module):
    """Codes as tensors, or relaxed codes, to E[x|z]."""

    def __init__(self, model: DiscreteVAE) -> None:
        super().__init__()
        self.decoder = model.decoder
        self.likelihood = model.likelihood

    def forward(self, relaxed: Tensor) -> Tensor:
        outputs = self.decoder(relaxed)
        if isinstance(self.likelihood, DiscretisedLogisticLikelihood):
            # ONNX Runtime computes exponentials and logarithms of float32 in groups, and those left over at the end of
            # a batch by another routine: in float64 a row's values, rounded, do not depend on the rows beside it.
            return self.likelihood.mean(outputs.double()).float()
        return self.likelihood.mean(outputs)


class PriorGraph(nn.Module):
    """Codes as tensors to the logits of each latent given those before it."""

    def __init__(self, prior: AutoregressivePrior) -> None:
        super().__init__()
        self.prior = copy.deepcopy(prior)
        # The masks are a part of the weights now: multiplied once, here, and not stored a second time.
        self.prior.network.layers = nn.Sequential(*map(_without_mask, prior.network.layers))

    def forward(self, relaxed: Tensor) -> Tensor:
        return self.prior(relaxed)


def build_graphs(model: DiscreteVAE, name: str) -> dict[Role, bytes]:
    """The model's graphs, each a serialised ONNX file with its weights inside, in float32.

    `model` may be on any device and is left as it was. `name` is written into the files. Raises ExportRefused when a
    graph would hold a random operator or be larger than an ONNX file can be.
    """
    model = copy.deepcopy(model).cpu().float().eval()
    latent = model.latent
    parameters = "logits" if model.relaxation.num_parameters == 1 else "parameters"
    protos = {
        "encoder": _trace(
            EncoderGraph(model),
            {"inputs": model.encoder.mean.shape},
            ["logits", "codes"] if parameters == "logits" else ["logits", "codes", parameters],
        ),
        "sampler": _trace(
            SamplerGraph(model),
            {
                parameters: model.relaxation.parameter_shape(latent),
                "noise": latent.shape,
                "temperature": (),
                "relaxation_temperature": (),
            },
            ["codes", "relaxed", "probabilities", "margins"],
        ),
        "decoder": _trace(DecoderGraph(model), {"relaxed": latent.shape}, ["outputs"]),
    }
    if isinstance(model.prior, AutoregressivePrior):
        protos["prior"] = _trace(PriorGraph(model.prior), {"relaxed": latent.shape}, ["logits"])
    return {role: _finish(proto, role, name, latent) for role, proto in protos.items()}


def random_operators(proto: ModelProto) -> list[str]:
    """Types, sorted, of the operators in the graph whose result is not a function of its inputs."""
    nodes = chain(proto.graph.node, *(function.node for function in proto.functions))
    return sorted({node.op_type for node in nodes} & _RANDOM_OPERATORS)


def _precise(relaxation: type[Posterior], parameters: Tensor, latent: LatentConfig) -> Posterior:
    """The posterior of these parameters, in float64 where there are several a latent.

    Their scores are products and powers, whose rounding in float32 would differ by more than that of a sum: between
    machines, and between places in a batch (see `DecoderGraph`).
    """
    return relaxation(parameters if relaxation.num_parameters == 1 else parameters.double(), latent)


def _without_mask(layer: nn.Module) -> nn.Module:
    if not isinstance(layer, MaskedLinear):
        return layer
    plain = nn.Linear(layer.in_features, layer.out_features)
    with torch.no_grad():
        plain.weight.copy_(layer.weight * layer.mask)
        plain.bias.copy_(layer.bias)
    return plain


def _indices(scores: Float[Tensor, "B *latent"], latent: LatentConfig) -> Tensor:
    """The most probable code [B, N] in the unsigned integers of the code's layout."""
    best = scores > 0 if latent.kind == "binary" else scores.argmax(dim=-1)
    return best.to(_CODE_DTYPES[latent.layout.dtype.name])


def _trace(module: nn.Module, inputs: Mapping[str, tuple[int, ...]], outputs: list[str]) -> ModelProto:
    """`module` as a graph; `inputs` names its inputs, in order, with the shape of one row of each."""
    # Two rows, since an axis of size 1 would be taken for a constant; a tensor of its own for each input, since two
    # inputs that are one tensor would silently become one input.
    example = tuple(torch.zeros(2, *shape) for shape in inputs.values())
    batch = {0: torch.export.Dim("batch")}
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=tuple(batch for _ in example),
            verbose=False,
        )
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing about the exporter's own deprecations, its passes, or torchvision operators that no graph here has."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", message="# The axis name: batch will not be used", category=UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _finish(proto: ModelProto, role: Role, name: str, latent: LatentConfig) -> bytes:
    """Serialised, with the metadata of `models.graphs` and without the exporter's traces of where it ran."""
    if found := random_operators(proto):
        raise ExportRefused(
            f"{role} graph: expected no random operators, so that noise is an input and codes can be reproduced; "
            f"got {', '.join(found)}"
        )
    graph = proto.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    proto.ClearField("doc_string")
    proto.producer_name, proto.producer_version = PRODUCER, version(PRODUCER)
    graph.name = role
    helper.set_model_props(
        proto,
        {
            "model": name,
            "graph": role,
            "kind": latent.kind,
            "num_latents": str(latent.num_latents),
            "num_categories": str(latent.num_categories),
            "bit_order": "most significant first",
        },
    )
    if (size := proto.ByteSize()) > MAX_GRAPH_BYTES:
        raise ExportRefused(
            f"{role} graph: expected at most {MAX_GRAPH_BYTES:,} bytes, got {size:,}; make the network smaller"
        )
    return proto.SerializeToString(deterministic=True)
