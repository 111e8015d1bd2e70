"""Both clients against a real service on a real port; what must come out says the numpy oracle of the tiny models."""

from typing import Any

import numpy as np
import pytest
from latent_codes_client import NotFound, RequestRefused
from tiny_models import TINY_BINARY, TINY_CATEGORICAL, TINY_MODELS, TinyModel

from models import codes as code_layouts

CLOSE = {"rtol": 0, "atol": 1e-4}

both_models = pytest.mark.parametrize("model", TINY_MODELS, ids=lambda model: model.name)


@pytest.fixture
def client(running_service: Any, make_client: Any) -> Any:
    return make_client(running_service.url)


@both_models
def test_encoding_gives_what_the_oracle_gives(client: Any, model: TinyModel) -> None:
    inputs = model.inputs(7)
    expected = model.encode(inputs)
    found = client.encode(
        model.name, inputs, outputs=["codes", "relaxed", "probabilities", "logits", "margins"], version=1
    )
    assert (found.model, found.version, found.seed) == (model.name, 1, None)
    np.testing.assert_array_equal(found.codes, expected.codes)
    np.testing.assert_allclose(found.relaxed, expected.relaxed, **CLOSE)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, **CLOSE)
    np.testing.assert_allclose(found.logits, model.logits(inputs), **CLOSE)
    np.testing.assert_allclose(found.margins, expected.margins, **CLOSE)


@both_models
def test_samples_have_an_axis_after_the_rows_and_follow_the_seed(client: Any, model: TinyModel) -> None:
    inputs = model.inputs(4)
    found = client.encode(
        model.name, inputs, temperature=0.8, seed=7, num_samples=3, outputs=["codes", "relaxed", "logits"]
    )
    assert found.seed == 7
    for sample in range(3):
        expected = model.encode(inputs, temperature=0.8, seed=7, sample=sample)
        np.testing.assert_array_equal(found.codes[:, sample], expected.codes)
        np.testing.assert_allclose(found.relaxed[:, sample], expected.relaxed, **CLOSE)
    assert found.logits.shape == (4, *model.latent_shape)


@both_models
def test_a_seed_that_the_service_drew_gives_the_same_codes_again(client: Any, model: TinyModel) -> None:
    inputs = model.inputs(5)
    first = client.encode(model.name, inputs, temperature=1.0)
    again = client.encode(model.name, inputs, temperature=1.0, seed=first.seed)
    np.testing.assert_array_equal(first.codes, again.codes)


def test_relaxation_temperature_sharpens_relaxed_and_leaves_codes(client: Any) -> None:
    inputs = TINY_CATEGORICAL.inputs(5)
    request = {"temperature": 0.5, "seed": 1, "outputs": ["codes", "relaxed"]}
    soft, sharp = (
        client.encode(TINY_CATEGORICAL.name, inputs, relaxation_temperature=tau, **request) for tau in (5.0, 0.1)
    )
    np.testing.assert_array_equal(soft.codes, sharp.codes)
    assert (sharp.relaxed.max(axis=-1) > soft.relaxed.max(axis=-1)).all()


@both_models
@pytest.mark.parametrize("code_format", ["hex", "base64"])
def test_codes_travel_as_text_too(client: Any, model: TinyModel, code_format: str) -> None:
    inputs = model.inputs(6)
    codes = client.encode(model.name, inputs).codes
    spelt = client.encode(model.name, inputs, code_format=code_format).codes
    spell = code_layouts.to_hex if code_format == "hex" else code_layouts.to_base64
    assert spelt.tolist() == spell(codes, model.layout)
    np.testing.assert_array_equal(
        client.decode(model.name, spelt, code_format=code_format).outputs, client.decode(model.name, codes).outputs
    )
    sampled = client.encode(model.name, inputs, num_samples=2, code_format=code_format).codes
    assert sampled.tolist() == [[text, text] for text in spelt.tolist()]


@both_models
def test_decoding_gives_what_the_oracle_gives(client: Any, model: TinyModel) -> None:
    codes = model.codes(5)
    decoding = client.decode(model.name, codes)
    assert (decoding.model, decoding.version) == (model.name, 1)
    np.testing.assert_allclose(decoding.outputs, model.decode(codes), **CLOSE)
    relaxed = model.encode(model.inputs(5)).relaxed
    np.testing.assert_allclose(
        client.decode(model.name, relaxed=relaxed).outputs, model.decode_relaxed(relaxed), **CLOSE
    )


@both_models
@pytest.mark.parametrize("num_samples", [1, 3])
def test_reconstruction_comes_with_the_error_of_each_row(client: Any, model: TinyModel, num_samples: int) -> None:
    inputs = model.inputs(4)
    found = client.reconstruct(model.name, inputs, temperature=0.5, seed=3, num_samples=num_samples)
    lead = (4,) if num_samples == 1 else (4, num_samples)
    outputs = model.decode(found.codes.reshape(-1, model.num_latents)).reshape(*lead, *model.input_shape)
    np.testing.assert_allclose(found.outputs, outputs, **CLOSE)
    original = inputs if num_samples == 1 else inputs[:, None]
    squared = np.square(outputs - original).reshape(*lead, -1)
    np.testing.assert_allclose(found.mean_squared_error, squared.mean(axis=-1), **CLOSE)
    assert found.mean_squared_error.dtype == np.float64


@both_models
def test_generation_decodes_the_codes_it_drew(client: Any, model: TinyModel) -> None:
    drawn = client.generate(model.name, 6, seed=5)
    assert drawn.codes.shape == (6, model.num_latents)
    np.testing.assert_allclose(drawn.outputs, model.decode(drawn.codes), **CLOSE)
    np.testing.assert_array_equal(drawn.codes, client.generate(model.name, 6, seed=5).codes)
    assert client.generate(model.name, seed=5, outputs=["relaxed"]).codes is None


@both_models
def test_models_are_described_as_their_manifests_say(client: Any, model: TinyModel) -> None:
    described = client.model(model.name)
    assert (described.name, described.version, described.versions) == (model.name, 1, (1,))
    assert (described.kind, described.num_latents, described.num_categories) == (
        model.kind,
        model.num_latents,
        model.num_categories,
    )
    assert (described.input_shape, described.input_minimum, described.input_maximum) == (model.input_shape, 0.0, 1.0)
    assert (described.code_bits, described.provider) == (model.layout.num_bits, "CPUExecutionProvider")
    assert described.relaxation_temperature == model.relaxation_temperature
    assert client.model(model.name, 1) == described


def test_the_list_of_models_names_all_that_are_served(client: Any) -> None:
    assert [summary.name for summary in client.models()] == sorted(model.name for model in TINY_MODELS)
    assert client.is_live() is True
    assert client.is_ready() is True


def test_the_service_names_the_field_that_it_refuses(client: Any) -> None:
    inputs = TINY_BINARY.inputs(2)
    inputs[1, 0, 2] = 1.5
    with pytest.raises(RequestRefused, match=r"HTTP 422: .*inputs") as refusal:
        client.encode(TINY_BINARY.name, inputs)
    assert refusal.value.field.startswith("inputs[1]")
    assert refusal.value.expected
    assert "1.5" in refusal.value.received
    assert refusal.value.request_id
    with pytest.raises(RequestRefused) as refusal:
        client.decode(TINY_CATEGORICAL.name, [[0, 1, 2, 3, 6]])
    assert refusal.value.field == "codes[0][4]"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"relaxation_temperature": 0.0}, "relaxation_temperature"),
        ({"seed": -1}, "seed"),
        ({"num_samples": 0}, "num_samples"),
        ({"code_format": "octal"}, "code_format"),
        ({"outputs": ["codes", "colours"]}, "outputs[1]"),
    ],
)
def test_the_service_decides_which_values_a_parameter_may_have(client: Any, arguments: Any, field: str) -> None:
    with pytest.raises(RequestRefused) as refusal:
        client.encode(TINY_BINARY.name, TINY_BINARY.inputs(1), **arguments)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("name", "version"), [("no-such-model", None), (TINY_BINARY.name, 99), ("../tiny-binary", None)]
)
def test_what_is_not_served_is_not_found(client: Any, name: str, version: int | None) -> None:
    for call in (
        lambda: client.model(name, version),
        lambda: client.encode(name, TINY_BINARY.inputs(1), version=version),
    ):
        with pytest.raises(NotFound, match=r"HTTP 404: ."):
            call()
