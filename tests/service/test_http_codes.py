"""encode, decode, reconstruct, generate over HTTP: the answers are the oracle's, and have the documented shape."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import BaseModel
from service_process import ServiceProcess
from tiny_models import TINY_MODELS, TinyModel

from models import codes as code_layouts
from service.schemas import DecodeReply, EncodeReply, GenerateReply, ReconstructReply

REPLIES: dict[str, type[BaseModel]] = {
    "encode": EncodeReply,
    "decode": DecodeReply,
    "reconstruct": ReconstructReply,
    "generate": GenerateReply,
}


class Caller:
    """Posts to one model and holds every reply to its schema."""

    def __init__(self, client: httpx.Client, model: TinyModel) -> None:
        self._client = client
        self.model = model

    def __call__(self, operation: str, version: int | None = None, **body: Any) -> dict[str, Any]:
        at = "" if version is None else f"/versions/{version}"
        reply = self._client.post(f"/v1/models/{self.model.name}{at}/{operation}", json=body)
        assert reply.status_code == 200, reply.text
        assert reply.headers["content-type"] == "application/json"
        REPLIES[operation].model_validate(reply.json())
        assert (reply.json()["model"], reply.json()["version"]) == (self.model.name, 1)
        return reply.json()


@pytest.fixture(params=TINY_MODELS, ids=lambda model: model.name)
def call(request: pytest.FixtureRequest, running_service: ServiceProcess) -> Iterator[Caller]:
    with httpx.Client(base_url=running_service.url, timeout=30) as client:
        yield Caller(client, request.param)


def test_encoding_by_default_returns_the_most_probable_codes_and_nothing_else(call: Caller) -> None:
    inputs = call.model.inputs(20)
    reply = call("encode", inputs=inputs.tolist())
    assert set(reply) == {"model", "version", "seed", "codes"}
    assert reply["seed"] is None
    np.testing.assert_array_equal(reply["codes"], call.model.encode(inputs).codes)


def test_rows_may_be_flat_or_nested(call: Caller) -> None:
    inputs = call.model.inputs(4)
    flat = call("encode", inputs=inputs.reshape(4, -1).tolist(), outputs=["logits"])
    assert flat == call("encode", inputs=inputs.tolist(), outputs=["logits"])


def test_whole_numbers_are_numbers(call: Caller) -> None:
    reply = call("encode", inputs=[[0] * call.model.size, [1] * call.model.size], temperature=0, outputs=["logits"])
    expected = call.model.logits(np.repeat([[0.0], [1.0]], call.model.size, axis=1))
    np.testing.assert_allclose(reply["logits"], expected, atol=1e-5)


@pytest.mark.parametrize("temperature", [0, 0.4, 1, 3.5])
def test_every_output_is_that_of_the_oracle(call: Caller, temperature: float) -> None:
    model, inputs = call.model, call.model.inputs(9)
    reply = call(
        "encode",
        inputs=inputs.tolist(),
        temperature=temperature,
        relaxation_temperature=0.3,
        seed=2**63 - 1,
        outputs=["codes", "relaxed", "probabilities", "logits", "margins"],
    )
    logits = model.logits(inputs)
    noise = model.noise(2**63 - 1, 9)
    expected = model.sample(logits, noise, temperature=temperature, relaxation_temperature=0.3)
    assert reply["seed"] == 2**63 - 1
    np.testing.assert_array_equal(reply["codes"], expected.codes)
    np.testing.assert_allclose(reply["logits"], logits, atol=1e-5)
    for name in ("relaxed", "probabilities", "margins"):
        np.testing.assert_allclose(reply[name], getattr(expected, name), atol=1e-4)


def test_the_default_relaxation_temperature_is_the_manifests(call: Caller) -> None:
    body = {"inputs": call.model.inputs(2).tolist(), "outputs": ["relaxed"]}
    tau = call.model.relaxation_temperature
    assert call("encode", **body) == call("encode", **body, relaxation_temperature=tau)
    assert call("encode", **body) != call("encode", **body, relaxation_temperature=tau / 2)


def test_a_seed_drawn_by_the_server_is_returned_and_repeats_the_codes(call: Caller) -> None:
    body = {"inputs": call.model.inputs(30).tolist(), "temperature": 1.0}
    first = call("encode", **body)
    assert 0 <= first["seed"] < 2**53
    assert call("encode", **body, seed=first["seed"]) == first
    assert call("encode", **body)["seed"] != first["seed"]


def test_samples_follow_the_rows_in_every_format(call: Caller) -> None:
    model, inputs = call.model, call.model.inputs(3)
    body = {"inputs": inputs.tolist(), "temperature": 1.0, "seed": 6, "num_samples": 4}
    expected = np.stack([model.encode(inputs, temperature=1.0, seed=6, sample=s).codes for s in range(4)], axis=1)
    np.testing.assert_array_equal(call("encode", **body)["codes"], expected)
    for code_format, spell in (("hex", code_layouts.to_hex), ("base64", code_layouts.to_base64)):
        spelt = [spell(rows, model.layout) for rows in expected]
        assert call("encode", **body, code_format=code_format)["codes"] == spelt


def test_the_bits_of_packed_codes_are_most_significant_first(call: Caller) -> None:
    """A second spelling of the layout: a string of bits, latent after latent."""
    codes = call("encode", inputs=call.model.inputs(1).tolist())["codes"][0]
    width = (call.model.num_categories - 1).bit_length()
    bits = "".join(format(value, f"0{width}b") for value in codes)
    packed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))
    spelt = call("encode", inputs=call.model.inputs(1).tolist(), code_format="hex")["codes"][0]
    assert spelt == packed.hex()
    spelt = call("encode", inputs=call.model.inputs(1).tolist(), code_format="base64")["codes"][0]
    assert spelt == base64.b64encode(packed).decode()


def test_decoding_takes_every_format_of_a_code(call: Caller) -> None:
    model, codes = call.model, call.model.codes(7)
    expected = call("decode", codes=codes.tolist())
    np.testing.assert_allclose(expected["outputs"], model.decode(codes), atol=1e-5)
    assert np.shape(expected["outputs"]) == (7, *model.input_shape)
    assert call("decode", codes=code_layouts.to_hex(codes, model.layout), code_format="hex") == expected
    assert call("decode", codes=code_layouts.to_base64(codes, model.layout), code_format="base64") == expected


def test_decoding_takes_relaxed_codes(call: Caller) -> None:
    inputs = call.model.inputs(5)
    relaxed = call("encode", inputs=inputs.tolist(), outputs=["relaxed"])["relaxed"]
    found = call("decode", relaxed=relaxed)["outputs"]
    np.testing.assert_allclose(found, call.model.decode_relaxed(np.array(relaxed)), atol=1e-5)


def test_reconstruction_is_the_decoded_encoding_and_its_error(call: Caller) -> None:
    model, inputs = call.model, call.model.inputs(6)
    reply = call("reconstruct", inputs=inputs.tolist(), temperature=0.5, seed=1, code_format="hex")
    assert set(reply) == {"model", "version", "seed", "codes", "outputs", "mean_squared_error"}
    codes = model.encode(inputs, temperature=0.5, seed=1).codes
    assert reply["codes"] == code_layouts.to_hex(codes, model.layout)
    decoded = model.decode(codes)
    np.testing.assert_allclose(reply["outputs"], decoded, atol=1e-5)
    errors = ((decoded - inputs) ** 2).reshape(6, -1).mean(axis=1)
    np.testing.assert_allclose(reply["mean_squared_error"], errors, atol=1e-5)


def test_reconstruction_of_samples_has_their_axis(call: Caller) -> None:
    reply = call("reconstruct", inputs=call.model.inputs(2).tolist(), temperature=1.0, num_samples=3)
    assert np.shape(reply["codes"]) == (2, 3, call.model.num_latents)
    assert np.shape(reply["outputs"]) == (2, 3, *call.model.input_shape)
    assert np.shape(reply["mean_squared_error"]) == (2, 3)


def test_generating_draws_codes_from_the_prior_and_decodes_them(call: Caller) -> None:
    model = call.model
    reply = call("generate", num_samples=50, seed=3)
    noise = model.noise(3, 50, purpose="prior")
    codes = model.sample(np.zeros_like(noise), noise, temperature=1.0).codes
    np.testing.assert_array_equal(reply["codes"], codes)
    np.testing.assert_allclose(reply["outputs"], model.decode(codes), atol=1e-5)
    alone = call("generate")
    assert len(alone["codes"]) == 1
    assert alone["seed"] is not None


def test_one_version_can_be_asked_for_by_its_number(call: Caller) -> None:
    inputs = call.model.inputs(2).tolist()
    assert call("encode", version=1, inputs=inputs) == call("encode", inputs=inputs)
    assert call("generate", version=1, seed=1) == call("generate", seed=1)


def test_a_request_of_many_rows_has_the_codes_of_its_rows_alone(call: Caller) -> None:
    inputs = call.model.inputs(1000)
    body = {"temperature": 0.8, "seed": 15}
    whole = call("encode", inputs=inputs.tolist(), **body)["codes"]
    assert call("encode", inputs=inputs[:1].tolist(), **body)["codes"] == whole[:1]
    assert call("encode", inputs=inputs[:400].tolist(), **body)["codes"] == whole[:400]
    np.testing.assert_array_equal(whole, call.model.encode(inputs, temperature=0.8, seed=15).codes)


def test_requests_that_continue_each_other_have_the_codes_of_one(call: Caller) -> None:
    inputs = call.model.inputs(20)
    body = {"temperature": 0.8, "seed": 15}
    whole = call("encode", inputs=inputs.tolist(), **body)["codes"]
    rest = call("encode", inputs=inputs[7:].tolist(), first_row=7, **body)["codes"]
    assert rest == whole[7:]
    assert call("reconstruct", inputs=inputs[7:].tolist(), first_row=7, **body)["codes"] == rest
    drawn = call("generate", num_samples=20, seed=3)["codes"]
    assert call("generate", num_samples=2, first_row=18, seed=3)["codes"] == drawn[18:]
