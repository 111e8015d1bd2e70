"""The engine where the prior is learned, or the sampler takes parameters that are not logits: against the oracle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from scipy.special import expit, softmax
from tiny_models import TINY_LAWS, TINY_MODELS, TinyModel

from models.manifest import GraphFile
from models.repository import Repository
from service import golden
from service.engine import ENCODE_OUTPUTS, Engine
from service.errors import GoldenMismatch, InvalidFields

FIRST_BINARY = [
    [1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1],
    [0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0],
    [0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0, 1],
]
FIRST_CATEGORICAL = [[0, 5, 1, 2, 5], [0, 3, 1, 1, 2], [4, 0, 2, 1, 4]]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = Repository(tmp_path_factory.mktemp("laws"))
    for model in (*TINY_MODELS, *TINY_LAWS):
        model.publish(repository)
    return repository


Load = Callable[..., Engine]


@pytest.fixture(scope="module")
def load(repository: Repository) -> Load:
    def load(model: TinyModel, **options: Any) -> Engine:
        return Engine.load(repository.read(model.name), device="cpu", **options)

    return load


each = pytest.mark.parametrize("model", TINY_LAWS, ids=lambda model: model.name)


@each
@pytest.mark.parametrize("temperature", [0.0, 0.4, 1.0, 3.0])
def test_encoding_gives_the_numbers_of_the_oracle(load: Load, model: TinyModel, temperature: float) -> None:
    inputs = model.inputs(60)
    found = load(model).encode(
        inputs, temperature=temperature, relaxation_temperature=0.3, seed=4, outputs=ENCODE_OUTPUTS
    )
    expected = model.sample(
        model.parameters(inputs), model.noise(4, 60), temperature=temperature, relaxation_temperature=0.3
    )
    np.testing.assert_array_equal(found.codes, expected.codes)
    np.testing.assert_allclose(found.logits, model.logits(inputs), atol=1e-4)
    for name in ("relaxed", "probabilities", "margins"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-4, err_msg=name)
    if temperature == 0:
        np.testing.assert_array_equal(load(model).encode(inputs).codes, expected.codes)


@each
@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_generated_codes_are_drawn_latent_by_latent_with_the_noise_of_the_kind(
    load: Load, model: TinyModel, temperature: float
) -> None:
    codes, scores = model.generate(model.prior_noise(5, 200), temperature)
    found = load(model).generate(
        200, temperature=temperature, relaxation_temperature=0.3, seed=5, outputs=["codes", "relaxed"]
    )
    np.testing.assert_array_equal(found.codes, codes)
    assert found.codes is not None
    assert found.codes.dtype == model.layout.dtype
    relaxed = expit(scores / 0.3) if model.kind == "binary" else softmax(scores / 0.3, axis=-1)
    np.testing.assert_allclose(found.relaxed, relaxed, atol=1e-4)
    np.testing.assert_allclose(found.outputs, model.decode(codes), atol=1e-5)
    if temperature == 0:
        assert (found.codes == found.codes[0]).all()
        assert found.codes.any()  # the mode of a learned prior, not code 0


@each
def test_generated_codes_do_not_depend_on_the_pieces_that_they_are_run_in(load: Load, model: TinyModel) -> None:
    wanted = {"seed": 8, "outputs": ["codes", "relaxed"]}
    whole = load(model).generate(300, **wanted)
    for max_rows_per_run in (1, 7):
        pieces = load(model, max_rows_per_run=max_rows_per_run).generate(300, **wanted)
        for name in ("codes", "relaxed", "outputs"):
            np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))
    np.testing.assert_array_equal(load(model).generate(2, **wanted).codes, whole.codes[:2])


@each
def test_only_what_is_asked_for_is_generated(load: Load, model: TinyModel) -> None:
    found = load(model).generate(2, seed=1, outputs=["relaxed"])
    assert found.codes is None
    assert found.relaxed is not None


@each
def test_logits_of_the_prior_are_those_given_the_latents_before(load: Load, model: TinyModel) -> None:
    codes = model.codes(50)
    np.testing.assert_allclose(
        load(model, max_rows_per_run=7).prior_logits(codes), model.prior_logits(codes), atol=1e-5
    )
    with pytest.raises(InvalidFields, match=r"^codes\[0\]\[0\]: expected an integer"):
        load(model).prior_logits(codes + model.num_categories)


@pytest.mark.parametrize("model", TINY_MODELS, ids=lambda model: model.name)
def test_a_uniform_prior_has_logits_of_0(load: Load, model: TinyModel) -> None:
    assert not load(model).prior_logits(model.codes(3)).any()


@each
@pytest.mark.parametrize("temperature", [0.0, 1e-45, 1e30])
@pytest.mark.parametrize("tau", [1e-30, 1e30])
def test_the_greatest_and_least_temperatures_generate_finite_values(
    load: Load, model: TinyModel, temperature: float, tau: float
) -> None:
    found = load(model).generate(
        9, temperature=temperature, relaxation_temperature=tau, seed=0, outputs=["codes", "relaxed"]
    )
    assert found.relaxed is not None
    assert np.isfinite(found.relaxed).all()
    assert np.isfinite(found.outputs).all()


@each
def test_golden_vectors_are_reproduced(load: Load, model: TinyModel) -> None:
    golden.check(load(model))


def test_a_prior_graph_with_other_weights_is_not_served(tmp_path: Path) -> None:
    model = TINY_LAWS[1]
    graphs = model.onnx_models()
    for initializer in graphs["prior"].graph.initializer:
        if initializer.name == "prior_bias":
            changed = numpy_helper.to_array(initializer) + np.float32(0.01)
            initializer.CopyFrom(numpy_helper.from_array(changed, initializer.name))
    files = {**model.graphs(), "prior": graphs["prior"].SerializeToString()}
    manifest = model.manifest(model.graphs())
    manifest = manifest.model_copy(
        update={"graphs": {**manifest.graphs, "prior": GraphFile.of("prior.onnx", files["prior"])}}
    )
    onnx.checker.check_model(graphs["prior"])
    engine = Engine.load(Repository(tmp_path).publish(manifest, files), device="cpu")
    with pytest.raises(GoldenMismatch, match=r"golden prior_logits: expected .* got a difference of"):
        golden.check(engine)


def test_codes_generated_from_a_uniform_prior_stay_what_they_were_when_first_published(load: Load) -> None:
    """They are a function of seed, row and shape alone. Whoever stored a seed instead of codes relies on it."""
    first = {model.name: load(model).generate(3, seed=7).codes for model in TINY_MODELS}
    assert first["tiny-binary"].tolist() == FIRST_BINARY
    assert first["tiny-categorical"].tolist() == FIRST_CATEGORICAL
