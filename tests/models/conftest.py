"""A small model of each kind, as training would hand it to the repository. Its graphs are bytes that nobody runs."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from models.manifest import (
    ROLES,
    Golden,
    GraphFile,
    ImageSpec,
    InputSpec,
    Kind,
    Manifest,
    Metric,
    RelaxationSpec,
    Role,
    Tensor,
    TrainingRecord,
    UniformPrior,
)

GRAPHS: dict[Role, bytes] = {role: f"the {role} graph".encode() for role in ROLES}


def _manifest(kind: Kind = "binary", *, num_latents: int = 5, num_categories: int = 2, **changes: Any) -> Manifest:
    """A manifest without a contradiction; `changes` replace its fields."""
    latent = (num_latents,) if kind == "binary" else (num_latents, num_categories)
    dtype = np.uint8 if num_categories <= 256 else np.uint16
    codes = np.arange(2 * num_latents).reshape(2, num_latents) % num_categories
    fields: dict[str, Any] = {
        "name": "tiny",
        "version": 1,
        "description": "Two rows of six values.",
        "kind": kind,
        "num_latents": num_latents,
        "num_categories": num_categories,
        "input": InputSpec(
            shape=(2, 3), minimum=0.0, maximum=1.0, image=ImageSpec(mode="L", height=2, width=3, invert=True)
        ),
        "likelihood": "bernoulli",
        "relaxation": RelaxationSpec(name="binary_concrete", noise="logistic")
        if kind == "binary"
        else RelaxationSpec(name="concrete", noise="gumbel"),
        "estimator": "straight_through",
        "relaxation_temperature": 0.5,
        "prior": UniformPrior(),
        "metrics": (
            Metric(name="negative_elbo", value=0.1 + 0.2, split="test", num_examples=10, protocol="one code a row"),
        ),
        "training": TrainingRecord(
            data={"name": "digits"},
            config={"learning_rate": 1e-3, "widths": [8, 4]},
            num_steps=7,
            duration_seconds=1.5,
            device="cpu",
        ),
        "libraries": {"torch": "2.13.0"},
        "created": datetime(2026, 11, 23, 18, 30, tzinfo=UTC),
        "graphs": {role: GraphFile.of(f"{role}.onnx", content) for role, content in GRAPHS.items()},
        "golden": Golden(
            inputs=Tensor.of(np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 6)),
            logits=Tensor.of(np.linspace(-3, 3, 2 * int(np.prod(latent)), dtype=np.float32).reshape(2, *latent)),
            codes=Tensor.of(codes.astype(dtype)),
            seed=7,
            temperature=0.7,
            sampled_codes=Tensor.of(codes[::-1].astype(dtype)),
            outputs=Tensor.of(np.linspace(1, 0, 12, dtype=np.float32).reshape(2, 6)),
        ),
    }
    return Manifest(**{**fields, **changes})


@pytest.fixture(scope="session")
def make_manifest() -> Callable[..., Manifest]:
    """Makes a manifest: `make_manifest("categorical", num_latents=3, num_categories=300, name="other")`."""
    return _manifest


@pytest.fixture(scope="session")
def graphs() -> dict[Role, bytes]:
    """The graphs whose hashes the manifests of `make_manifest` hold."""
    return dict(GRAPHS)
