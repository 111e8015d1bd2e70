"""Exports a trained model to a model repository: graphs, parity check, golden vectors, manifest, one rename."""

import logging
import platform
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import onnx
import onnxruntime
import torch
from jaxtyping import Float32
from pydantic import TypeAdapter, ValidationError

from models.graphs import signatures
from models.manifest import (
    MAX_USAGE_SYMBOLS,
    AutoregressivePrior,
    CodeUsage,
    FactorisedPrior,
    GraphFile,
    InputSpec,
    Manifest,
    Metric,
    ModelName,
    Prior,
    RelaxationSpec,
    Tensor,
    TrainingRecord,
    UniformPrior,
)
from models.repository import Repository, StoredModel
from training.errors import ExportRefused
from training.exported import ExportedModel
from training.golden import golden_vectors
from training.graphs import build_graphs
from training.latents import LatentConfig
from training.model import DiscreteVAE
from training.parity import check_parity

logger = logging.getLogger(__name__)

_USAGE_ROWS = 256


def export(
    model: DiscreteVAE,
    *,
    name: str,
    description: str,
    input: InputSpec,  # noqa: A002 - the manifest's word
    relaxation_temperature: float,
    estimator: str,
    metrics: Sequence[Metric],
    training: TrainingRecord,
    golden_inputs: Float32[np.ndarray, "G D"],
    repository: Repository,
    parity_inputs: Float32[np.ndarray, "R D"] | None = None,
    usage_inputs: Float32[np.ndarray, "V D"] | None = None,
    usage_split: str = "valid",
) -> StoredModel:
    """Write `model` as the next version of `name`; returns it with the version it got. `model` is left as it was.

    The graphs are compared with the model on `parity_inputs` and `golden_inputs`, real inputs both; give a few hundred
    of the former. A few of the latter become golden vectors. `relaxation_temperature` is the one training ended with.
    `usage_inputs`, those of a split, say how codes are used when all is well, where the model has at most
    MAX_USAGE_SYMBOLS.
    Raises ExportRefused when the model or an input does not fit, when a weight is not finite, or when PyTorch and ONNX
    Runtime disagree; and PublishRefused when the repository cannot be written.
    """
    _check_name(name)
    _check_weights(model)
    _check_inputs("golden_inputs", golden_inputs, input, model)
    checked = golden_inputs
    if parity_inputs is not None:
        _check_inputs("parity_inputs", parity_inputs, input, model)
        checked = np.concatenate([golden_inputs, parity_inputs])
    if usage_inputs is not None:
        _check_inputs("usage_inputs", usage_inputs, input, model)
    if not (np.isfinite(relaxation_temperature) and relaxation_temperature > 0):
        raise ExportRefused(f"relaxation_temperature: expected a number above 0, got {relaxation_temperature}")

    graphs = build_graphs(model, name)
    exported = ExportedModel(graphs)
    parity = check_parity(model, exported, checked, relaxation_temperature=relaxation_temperature)
    logger.info("%s: %s", name, parity)
    try:
        manifest = Manifest(
            name=name,
            version=1,  # the repository gives it its number
            description=description,
            kind=model.latent.kind,
            num_latents=model.latent.num_latents,
            num_categories=model.latent.num_categories,
            input=input,
            likelihood=model.likelihood.name,
            relaxation=RelaxationSpec(name=model.relaxation.name, noise=model.relaxation.noise_name(model.latent.kind)),
            estimator=estimator,
            relaxation_temperature=relaxation_temperature,
            prior=_prior(model),
            metrics=tuple(metrics),
            training=training,
            libraries=_libraries(),
            created=datetime.now(UTC),
            graphs={role: GraphFile.of(f"{role}.onnx", graph) for role, graph in graphs.items()},
            golden=golden_vectors(model, exported, golden_inputs),
            usage=None if usage_inputs is None else usage_of(exported, usage_inputs, model.latent, split=usage_split),
        )
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors(include_url=False)
        )
        raise ExportRefused(f"the manifest would not be valid: {problems}") from error
    _check_signatures(exported, manifest)
    return repository.publish(manifest, graphs)


def usage_of(
    exported: ExportedModel, inputs: Float32[np.ndarray, "V D"], latent: LatentConfig, *, split: str
) -> CodeUsage | None:
    """How the graphs' codes of these inputs are used; None where there are too many symbols."""
    if latent.num_latents * latent.num_categories > MAX_USAGE_SYMBOLS or len(inputs) == 0:
        return None
    batches = (inputs[start : start + _USAGE_ROWS] for start in range(0, len(inputs), _USAGE_ROWS))
    codes = np.concatenate([exported.encode(batch).codes for batch in batches])
    return CodeUsage.of(codes, latent.layout, latent.kind, split=split)


def _prior(model: DiscreteVAE) -> Prior:
    match model.prior.name:
        case "autoregressive":
            return AutoregressivePrior()  # its law is a graph
        case "factorised":
            logits = model.prior.logits.detach().cpu().float()
            return FactorisedPrior(logits=Tensor.of(logits.numpy()))
        case _:
            return UniformPrior()


def _libraries() -> dict[str, str]:
    """Versions of what made the graphs and the golden vectors."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
    }


def _check_name(name: str) -> None:
    try:
        TypeAdapter(ModelName).validate_python(name)
    except ValidationError:
        raise ExportRefused(
            f"name: expected at most 64 of a-z, 0-9, '.', '_' and '-', a letter or digit at both ends, got {name!r}"
        ) from None


def _check_weights(model: DiscreteVAE) -> None:
    for weight, values in model.state_dict().items():
        if wrong := int((~torch.isfinite(values)).sum()):
            raise ExportRefused(
                f"{weight}: expected finite numbers, got NaN or infinity in {wrong:,} of {values.numel():,}; "
                "the run has diverged: export an earlier checkpoint"
            )


def _check_inputs(argument: str, inputs: np.ndarray, spec: InputSpec, model: DiscreteVAE) -> None:
    if spec.size != model.encoder.mean.numel():
        raise ExportRefused(
            f"input.shape: expected {model.encoder.mean.numel()} values, as the encoder has, "
            f"got {spec.size} in {list(spec.shape)}"
        )
    if inputs.dtype != np.float32 or inputs.ndim != 2 or inputs.shape[1] != spec.size or len(inputs) == 0:
        raise ExportRefused(
            f"{argument}: expected one or more float32 rows of {spec.size} values, "
            f"got {inputs.dtype} of shape {list(inputs.shape)}"
        )
    # A comparison with NaN is false.
    if not ((inputs >= spec.minimum) & (inputs <= spec.maximum)).all():
        raise ExportRefused(
            f"{argument}: expected values within [{spec.minimum:g}, {spec.maximum:g}], as the model's input says, "
            f"got {inputs.min():g} to {inputs.max():g}"
        )


def _check_signatures(exported: ExportedModel, manifest: Manifest) -> None:
    got = exported.signatures()
    for role, expected in signatures(manifest).items():
        if got[role] != expected:
            raise ExportRefused(f"{role} graph: expected {expected}, got {got[role]}. This is a bug.")
