"""Arrays in and out over HTTP: npy and raw rows mean what the same numbers mean as JSON."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from service_process import ServiceProcess
from tiny_models import TINY_MODELS, TinyModel

from service.wire.array_bodies import write_npy

NPY, RAW = "application/x-npy", "application/octet-stream"


@pytest.fixture(params=TINY_MODELS, ids=lambda model: model.name)
def model(request: pytest.FixtureRequest) -> TinyModel:
    return request.param


@pytest.fixture
def client(running_service: ServiceProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running_service.url, timeout=30) as client:
        yield client


def load(reply: httpx.Response) -> np.ndarray:
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == NPY
    return np.load(BytesIO(reply.content))


def post(
    client: httpx.Client,
    model: TinyModel,
    operation: str,
    content: bytes,
    media_type: str,
    accept: str = "",
    **query: Any,
) -> httpx.Response:
    headers = {"Content-Type": media_type, "Accept": accept or "*/*"}
    return client.post(f"/v1/models/{model.name}/{operation}", content=content, headers=headers, params=query)


@pytest.mark.parametrize("operation", ["encode", "reconstruct"])
def test_rows_mean_the_same_in_every_type_of_body(client: httpx.Client, model: TinyModel, operation: str) -> None:
    inputs = model.inputs(5)
    parameters = {"temperature": 0.7, "seed": 7, "num_samples": 2, "relaxation_temperature": 0.3}
    outputs = ["codes", "relaxed", "margins"]
    body = {"inputs": inputs.tolist(), "outputs": outputs, "code_format": "hex", **parameters}
    expected = client.post(f"/v1/models/{model.name}/{operation}", json=body).json()
    query = {"outputs": ",".join(outputs), "code_format": "hex", **parameters}
    flat = inputs.reshape(5, -1)
    for content, media_type in (
        (write_npy(inputs), NPY),
        (write_npy(flat.astype(np.float64)), NPY),
        (write_npy(flat.astype(">f4")), NPY),
        (flat.astype("<f4").tobytes(), RAW),
    ):
        assert post(client, model, operation, content, media_type, **query).json() == expected


@pytest.mark.parametrize("output", ["codes", "relaxed", "probabilities", "logits", "margins"])
def test_an_output_of_an_encoding_comes_as_the_array_that_json_spells(
    client: httpx.Client, model: TinyModel, output: str
) -> None:
    content = write_npy(model.inputs(3))
    query = {"outputs": output, "temperature": 1, "seed": 3}
    spelt = post(client, model, "encode", content, NPY, **query).json()
    reply = post(client, model, "encode", content, NPY, accept=NPY, **query)
    np.testing.assert_array_equal(load(reply), np.asarray(spelt[output], load(reply).dtype))
    assert load(reply).dtype == (model.layout.dtype if output == "codes" else np.float32)
    said = {name: reply.headers[f"latent-codes-{name}"] for name in ("model", "version", "seed")}
    assert said == {"model": model.name, "version": "1", "seed": "3"}


def test_a_seed_that_the_server_drew_comes_in_a_header(client: httpx.Client, model: TinyModel) -> None:
    content = write_npy(model.inputs(3))
    drawn = post(client, model, "encode", content, NPY, accept=NPY, temperature=2)
    again = post(
        client, model, "encode", content, NPY, accept=NPY, temperature=2, seed=drawn.headers["latent-codes-seed"]
    )
    np.testing.assert_array_equal(load(drawn), load(again))
    assert "latent-codes-seed" not in post(client, model, "encode", content, NPY, accept=NPY).headers


def test_integers_decode_as_codes_and_floats_as_relaxed_codes(client: httpx.Client, model: TinyModel) -> None:
    codes = model.codes(4)
    expected = client.post(f"/v1/models/{model.name}/decode", json={"codes": codes.tolist()}).json()["outputs"]
    corners = model.one_hot(codes).astype("<f4")
    for content, media_type in (
        (write_npy(codes), NPY),
        (write_npy(codes.astype(np.int64)), NPY),
        (write_npy(corners), NPY),
        (write_npy(corners.reshape(4, -1)), NPY),
        (corners.tobytes(), RAW),
    ):
        outputs = load(post(client, model, "decode", content, media_type, accept=NPY))
        assert outputs.shape == (4, *model.input_shape)
        np.testing.assert_array_equal(outputs, np.asarray(expected, np.float32))


def test_generated_outputs_come_as_an_array(client: httpx.Client, model: TinyModel) -> None:
    body = {"num_samples": 3, "seed": 5}
    path = f"/v1/models/{model.name}/generate"
    spelt = client.post(path, json=body).json()
    outputs = load(client.post(path, json=body, headers={"Accept": NPY}))
    np.testing.assert_array_equal(outputs, np.asarray(spelt["outputs"], np.float32))


def test_parameters_of_a_json_body_may_stand_in_the_query_but_not_in_both(
    client: httpx.Client, model: TinyModel
) -> None:
    path = f"/v1/models/{model.name}/encode"
    body = {"inputs": model.inputs(1).tolist()}
    together = client.post(path, json=body | {"temperature": 1, "seed": 4}).json()
    assert client.post(path, json=body, params={"temperature": 1, "seed": 4}).json() == together
    twice = client.post(path, json=body | {"seed": 4}, params={"seed": 4})
    assert (twice.status_code, twice.json()["field"]) == (422, "seed")


def test_an_array_that_does_not_fit_gets_a_problem_with_its_place(client: httpx.Client) -> None:
    model = TINY_MODELS[0]
    rows = model.inputs(3).reshape(3, -1).copy()
    rows[2, 1] = np.nan
    size = rows.shape[1]
    for content, media_type, status, field in (
        (write_npy(rows), NPY, 422, "inputs[2][1]"),
        (rows.astype("<f4").tobytes(), RAW, 422, "inputs[2][1]"),
        (write_npy(rows[:, 1:]), NPY, 422, "inputs"),
        (write_npy(rows[:0]), NPY, 400, None),
        (write_npy(rows[0, 0]), NPY, 422, "inputs"),
        (bytes(4 * size + 1), RAW, 422, "inputs"),
        (b"", RAW, 422, "inputs"),
        (b"", NPY, 400, None),
        (write_npy(np.zeros((4097, size), np.float32)), NPY, 422, "inputs"),
    ):
        reply = post(client, model, "encode", content, media_type)
        assert (reply.status_code, reply.json().get("field")) == (status, field)


def test_a_reply_of_one_array_holds_one_output_with_plain_codes(client: httpx.Client) -> None:
    model, accept = TINY_MODELS[0], {"accept": NPY}
    content = write_npy(model.inputs(1))
    for query, field in (({"outputs": "codes,logits"}, "outputs"), ({"code_format": "hex"}, "code_format")):
        reply = post(client, model, "encode", content, NPY, **accept, **query)
        assert (reply.status_code, reply.json()["field"]) == (422, field)


def test_a_type_of_reply_that_is_not_written_gets_406(client: httpx.Client) -> None:
    reply = post(client, TINY_MODELS[0], "encode", write_npy(TINY_MODELS[0].inputs(1)), NPY, accept="text/html")
    assert reply.status_code == 406
    assert reply.json()["type"] == "urn:latent-codes:problem:not-acceptable"
    assert "application/json or application/x-npy" in reply.json()["detail"]
