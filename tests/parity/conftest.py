"""Four models, of each kind and each network, with their graphs: what PyTorch and ONNX Runtime must agree on."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from training.exported import ExportedModel
from training.graphs import build_graphs
from training.latents import LatentConfig
from training.model import DiscreteVAE
from training.networks import ConvConfig, MlpConfig

SHAPE = (9, 8)
_LATENTS = {
    "binary": LatentConfig(kind="binary", num_latents=20),
    "categorical": LatentConfig(kind="categorical", num_latents=6, num_categories=5),
}
_NETWORKS = {"mlp": MlpConfig(hidden=(24,)), "conv": ConvConfig(channels=(4, 6), hidden=16)}


class Exported(NamedTuple):
    model: DiscreteVAE
    graphs: dict[str, bytes]
    runtime: ExportedModel


@pytest.fixture(scope="session", params=[f"{kind}-{network}" for kind in _LATENTS for network in _NETWORKS])
def exported(request: pytest.FixtureRequest) -> Exported:
    """Weights larger than at the start of training, so that the logits are those of a model that has learned."""
    kind, network = request.param.split("-")
    torch.manual_seed(0)
    model = DiscreteVAE(_LATENTS[kind], _NETWORKS[network], SHAPE, torch.full((72,), 0.3))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    graphs = build_graphs(model, f"{kind}-{network}")
    return Exported(model, graphs, ExportedModel(graphs))


@pytest.fixture(autouse=True)
def _same_start() -> None:
    """Of every test, whichever ran before it: what is drawn, and one thread, since several round otherwise."""
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture
def inputs() -> np.ndarray:
    """257 images of 0 and 1: one more than a power of two."""
    return (np.random.default_rng(0).random((257, 72)) < 0.3).astype(np.float32)
