"""`models/manifest.py`: the relaxations, likelihoods and priors that a model may have, and what each must bring."""

import json
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

from models.errors import ManifestError
from models.graphs import TensorSpec, signatures
from models.manifest import (
    AutoregressivePrior,
    FactorisedPrior,
    GraphFile,
    LikelihoodName,
    Manifest,
    RelaxationSpec,
    Tensor,
)
from models.noise import QUANTILES
from models.relaxations import RELAXATIONS, STANDARD_NOISE, RelaxationName

MakeManifest = Callable[..., Manifest]


def autoregressive(make_manifest: MakeManifest, **changes: Any) -> Manifest:
    """A manifest with the graph and the golden vector that an autoregressive prior asks for."""
    plain = make_manifest()
    return make_manifest(
        prior=AutoregressivePrior(),
        graphs={**plain.graphs, "prior": GraphFile.of("prior.onnx", b"the prior graph")},
        golden=plain.golden.model_copy(update={"prior_logits": plain.golden.logits}),
        **changes,
    )


def text_of(manifest: Manifest, **changes: Any) -> bytes:
    return json.dumps(json.loads(manifest.to_json()) | changes).encode()


def of_relaxation(make_manifest: MakeManifest, name: RelaxationName) -> Manifest:
    spec = RelaxationSpec(name=name, noise=RELAXATIONS[name].noise)
    return make_manifest(RELAXATIONS[name].kind, num_latents=5, num_categories=2, relaxation=spec)


@pytest.mark.parametrize("name", RELAXATIONS)
def test_a_model_of_every_relaxation_reads_back_as_it_was_written(
    make_manifest: MakeManifest, name: RelaxationName
) -> None:
    manifest = of_relaxation(make_manifest, name)
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize("name", RELAXATIONS)
def test_a_relaxation_with_another_noise_is_refused(make_manifest: MakeManifest, name: RelaxationName) -> None:
    manifest = of_relaxation(make_manifest, name)
    noise = RELAXATIONS[name].noise
    for other in set(QUANTILES) - {noise}:
        with pytest.raises(ManifestError, match=rf"relaxation\.noise: expected {noise} for {name}, got {other}"):
            Manifest.from_json(text_of(manifest, relaxation={"name": name, "noise": other}))


def test_the_tables_name_what_manifests_can_say() -> None:
    assert set(RELAXATIONS) == set(get_args(RelaxationName))
    for relaxation in RELAXATIONS.values():
        if relaxation.perturbs_logits:
            assert (relaxation.num_parameters, relaxation.noise) == (1, STANDARD_NOISE[relaxation.kind])


@pytest.mark.parametrize("likelihood", get_args(LikelihoodName))
def test_a_model_of_every_likelihood_reads_back(make_manifest: MakeManifest, likelihood: str) -> None:
    manifest = make_manifest(likelihood=likelihood)
    assert Manifest.from_json(manifest.to_json()).likelihood == likelihood


@pytest.mark.parametrize("kind", ["binary", "categorical"])
def test_the_logits_of_a_factorised_prior_read_back_bit_by_bit(make_manifest: MakeManifest, kind: str) -> None:
    shape = (5,) if kind == "binary" else (5, 7)
    logits = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    prior = FactorisedPrior(logits=Tensor.of(logits))
    manifest = make_manifest(kind, num_latents=5, num_categories=2 if kind == "binary" else 7, prior=prior)
    read = Manifest.from_json(manifest.to_json()).prior
    assert isinstance(read, FactorisedPrior)
    np.testing.assert_array_equal(read.logits.array(), logits)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"name": "factorised"}, r"prior\.logits: Field required"),
        (
            {"name": "factorised", "logits": Tensor.of(np.zeros(4, np.float32)).model_dump()},
            r"prior\.logits: expected float32 of shape \(5,\), got float32 \(4,\)",
        ),
        (
            {"name": "factorised", "logits": Tensor.of(np.zeros(5, np.uint8)).model_dump()},
            r"prior\.logits: expected float32 of shape \(5,\), got uint8 \(5,\)",
        ),
        ({"name": "uniform", "logits": None}, r"prior\.logits: Extra inputs are not permitted"),
        ({"name": "autoregressive"}, "graphs: expected exactly encoder, sampler, decoder, prior, got "),
        ({}, "prior: .*name"),
    ],
    ids=["no-logits", "too-few-logits", "integers", "uniform-with-logits", "no-graph", "no-name"],
)
def test_a_prior_that_lacks_something_is_refused(make_manifest: MakeManifest, prior: dict, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        Manifest.from_json(text_of(make_manifest(), prior=prior))


def test_an_autoregressive_prior_brings_a_graph_and_what_it_makes_of_the_golden_codes(
    make_manifest: MakeManifest,
) -> None:
    manifest = autoregressive(make_manifest)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.roles == ("encoder", "sampler", "decoder", "prior")
    golden = json.loads(manifest.to_json())["golden"]
    with pytest.raises(ManifestError, match=r"golden\.prior_logits: expected a tensor, since there is a prior graph"):
        Manifest.from_json(text_of(manifest, golden=golden | {"prior_logits": None}))
    short = Tensor.of(np.zeros((2, 4), np.float32)).model_dump()
    with pytest.raises(ManifestError, match=r"golden\.prior_logits: expected float32 of shape \(2, 5\)"):
        Manifest.from_json(text_of(manifest, golden=golden | {"prior_logits": short}))
    with pytest.raises(ManifestError, match=r"golden\.prior_logits: expected null, without a prior graph"):
        Manifest.from_json(text_of(make_manifest(), golden=golden))


def test_a_manifest_written_before_there_were_prior_graphs_reads_as_one_without(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    golden = json.loads(manifest.to_json())["golden"]
    del golden["prior_logits"]
    assert Manifest.from_json(text_of(manifest, golden=golden)) == manifest


def test_the_sampler_of_several_parameters_takes_them_instead_of_logits(make_manifest: MakeManifest) -> None:
    for name, relaxation in RELAXATIONS.items():
        graphs = signatures(of_relaxation(make_manifest, name))
        first, noise, *_ = graphs["sampler"].inputs
        latent = noise.shape
        assert graphs["encoder"].outputs[0] == TensorSpec("logits", "float32", latent)
        if relaxation.num_parameters == 1:
            assert first == TensorSpec("logits", "float32", latent)
            assert len(graphs["encoder"].outputs) == 2
        else:
            assert first == TensorSpec("parameters", "float32", (*latent, relaxation.num_parameters))
            assert graphs["encoder"].outputs[2] == first


def test_only_an_autoregressive_prior_has_a_graph(make_manifest: MakeManifest) -> None:
    assert list(signatures(make_manifest())) == ["encoder", "sampler", "decoder"]
    prior = signatures(autoregressive(make_manifest))["prior"]
    assert prior.inputs == (TensorSpec("relaxed", "float32", (5,)),)
    assert prior.outputs == (TensorSpec("logits", "float32", (5,)),)
