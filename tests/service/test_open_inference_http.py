"""The Open Inference Protocol as its specification has it: paths, objects, errors, and the binary extension's bytes.

The schemas are written from the specification, by hand and apart from the service's own: required members, their types,
and that a reply holds nothing that the protocol does not name.
(https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md)
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
from service_process import ServiceProcess
from tiny_models import TINY_BINARY, TINY_MODELS, TinyModel

STRING = {"type": "string"}
DATATYPE = {"enum": "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 BYTES".split()}  # noqa: SIM905
SHAPE = {"type": "array", "items": {"type": "integer", "minimum": 0}}
PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}


def object_of(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": required | (optional or {}),
        "additionalProperties": False,
    }


def list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


METADATA_TENSOR = object_of(
    {"name": STRING, "datatype": DATATYPE, "shape": list_of({"type": "integer", "minimum": -1})}
)
SERVER_METADATA = object_of({"name": STRING, "version": STRING, "extensions": list_of(STRING)})
MODEL_METADATA = object_of(
    {"name": STRING, "platform": STRING, "inputs": list_of(METADATA_TENSOR), "outputs": list_of(METADATA_TENSOR)},
    {"versions": list_of(STRING)},
)
MODEL_READY = object_of({"name": STRING, "ready": {"type": "boolean"}})
RESPONSE_OUTPUT = object_of(
    {"name": STRING, "shape": SHAPE, "datatype": DATATYPE},
    {"parameters": PARAMETERS, "data": list_of({"type": ["number", "string", "boolean"]})},
)
INFERENCE_RESPONSE = object_of(
    {"model_name": STRING, "outputs": list_of(RESPONSE_OUTPUT)},
    {"model_version": STRING, "id": STRING, "parameters": PARAMETERS},
)
ERROR = object_of({"error": STRING})

DURATION = object_of({"count": {"type": "integer", "minimum": 0}, "ns": {"type": "integer", "minimum": 0}})
PHASES = dict.fromkeys(("compute_input", "compute_infer", "compute_output"), DURATION)
STATISTICS = object_of(
    {
        "model_stats": list_of(
            object_of(
                {
                    "name": STRING,
                    "version": STRING,
                    "last_inference": {"type": "integer"},
                    "inference_count": {"type": "integer"},
                    "execution_count": {"type": "integer"},
                    "inference_stats": object_of(
                        PHASES | dict.fromkeys(("success", "fail", "queue", "cache_hit"), DURATION)
                    ),
                    "batch_stats": list_of(object_of({"batch_size": {"type": "integer", "minimum": 1}} | PHASES)),
                }
            )
        )
    }
)

INFER = "/v2/models/tiny-binary/infer"
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
def client(running_service: ServiceProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running_service.url, timeout=30) as client:
        yield client


def conforming(reply: httpx.Response, schema: dict[str, Any], status: int = 200) -> Any:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    document = reply.json()
    jsonschema.validate(document, schema)
    return document


def request_of(model: TinyModel, num_rows: int = 2, **rest: Any) -> dict[str, Any]:
    inputs = model.inputs(num_rows)
    return {
        "inputs": [
            {"name": "inputs", "shape": list(inputs.shape), "datatype": "FP32", "data": inputs.reshape(-1).tolist()}
        ]
    } | rest


def test_server_metadata(client: httpx.Client) -> None:
    for path in ("/v2", "/v2/"):
        found = conforming(client.get(path), SERVER_METADATA)
        assert {"binary_tensor_data", "parameters", "statistics"} == set(found["extensions"])


@pytest.mark.parametrize("model", TINY_MODELS, ids=lambda model: model.name)
def test_model_metadata_and_readiness(client: httpx.Client, model: TinyModel) -> None:
    for path in (f"/v2/models/{model.name}", f"/v2/models/{model.name}/versions/1"):
        found = conforming(client.get(path), MODEL_METADATA)
        assert found["versions"] == ["1"]
        shapes = {tensor["name"]: tensor["shape"] for tensor in found["outputs"]}
        assert shapes["codes"] == [-1, model.num_latents]
        assert shapes["mean_squared_error"] == [-1]
        assert conforming(client.get(f"{path}/ready"), MODEL_READY) == {"name": model.name, "ready": True}


@pytest.mark.parametrize("model", TINY_MODELS, ids=lambda model: model.name)
def test_inference_in_json(client: httpx.Client, model: TinyModel) -> None:
    for path in (f"/v2/models/{model.name}/infer", f"/v2/models/{model.name}/versions/1/infer"):
        found = conforming(client.post(path, json=request_of(model, id="42")), INFERENCE_RESPONSE)
        assert found["id"] == "42"
        for output in found["outputs"]:
            assert len(output["data"]) == np.prod(output["shape"])


def test_inference_of_every_kind_conforms(client: httpx.Client) -> None:
    for tensor in (
        {"name": "codes", "shape": [1, 12], "datatype": "UINT8", "data": [1] * 12},
        {"name": "relaxed", "shape": [1, 12], "datatype": "FP32", "data": [0.5] * 12},
    ):
        conforming(client.post(INFER, json={"inputs": [tensor]}), INFERENCE_RESPONSE)
    drawn = conforming(client.post(INFER, json={"inputs": []}), INFERENCE_RESPONSE)
    assert [output["name"] for output in drawn["outputs"]] == ["codes", "relaxed", "outputs"]
    assert drawn["parameters"]["seed"] >= 0


def test_statistics_count_the_requests_of_both_interfaces(client: httpx.Client) -> None:
    path = "/v2/models/tiny-binary/versions/1/stats"

    def counts() -> tuple[int, int, int]:
        [found] = conforming(client.get(path), STATISTICS)["model_stats"]
        return found["inference_count"], found["inference_stats"]["success"]["count"], found["execution_count"]

    before = counts()
    client.post("/v1/models/tiny-binary/encode", json={"inputs": TINY_BINARY.inputs(3).tolist()})
    client.post(INFER, json=request_of(TINY_BINARY, 4, outputs=[{"name": "codes"}]))
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [7, 2, 2]
    for wider, names in (
        ("/v2/models/stats", ["tiny-binary", "tiny-categorical"]),
        ("/v2/models/tiny-binary/stats", ["tiny-binary"]),
    ):
        assert [stat["name"] for stat in conforming(client.get(wider), STATISTICS)["model_stats"]] == names


def test_binary_outputs_follow_the_json_in_the_order_they_were_asked_for(client: httpx.Client) -> None:
    names = ["logits", "codes", "mean_squared_error"]
    outputs = [{"name": name, "parameters": {"binary_data": name != "codes"}} for name in names]
    reply = client.post(INFER, json=request_of(TINY_BINARY, outputs=outputs))
    assert reply.headers["content-type"] == "application/octet-stream"
    length = int(reply.headers[LENGTH])
    assert int(reply.headers["content-length"]) == len(reply.content) == length + 2 * 12 * 4 + 2 * 8
    document = json.loads(reply.content[:length])
    jsonschema.validate(document, INFERENCE_RESPONSE)
    as_json = client.post(INFER, json=request_of(TINY_BINARY, outputs=[{"name": name} for name in names])).json()
    assert [output["name"] for output in document["outputs"]] == names
    assert document["outputs"][1] == as_json["outputs"][1]
    assert document["outputs"][0]["parameters"] == {"binary_data_size": 96}
    logits, errors = (np.array(as_json["outputs"][index]["data"]) for index in (0, 2))
    assert reply.content[length:] == logits.astype("<f4").tobytes() + errors.astype("<f8").tobytes()


@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream", "text/plain", None])
def test_the_content_type_is_not_looked_at(client: httpx.Client, content_type: str | None) -> None:
    """Triton's client sends none, or one for all."""
    headers = {"Content-Type": content_type} if content_type else {}
    reply = client.post(INFER, content=json.dumps(request_of(TINY_BINARY)).encode(), headers=headers)
    assert reply.status_code == 200


ERRORS: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "unknown-model": ("POST", "/v2/models/nothing/infer", {"json": {"inputs": []}}, 404),
    "unknown-version": ("POST", "/v2/models/tiny-binary/versions/7/infer", {"json": {"inputs": []}}, 404),
    "version-that-is-no-number": ("GET", "/v2/models/tiny-binary/versions/v1", {}, 404),
    "metadata-of-nothing": ("GET", "/v2/models/nothing", {}, 404),
    "readiness-of-nothing": ("GET", "/v2/models/nothing/ready", {}, 404),
    "unknown-path": ("GET", "/v2/modelz", {}, 404),
    "configuration-extension": ("GET", "/v2/models/tiny-binary/config", {}, 404),
    "shared-memory-extension": ("GET", "/v2/systemsharedmemory/status", {}, 404),
    "administration-is-off": ("POST", "/v2/repository/models/tiny-binary/unload", {}, 403),
    "statistics-of-nothing": ("GET", "/v2/models/nothing/stats", {}, 404),
    "method": ("GET", INFER, {}, 405),
    "no-json": ("POST", INFER, {"content": b"{"}, 400),
    "no-body": ("POST", INFER, {}, 400),
    "a-field": ("POST", INFER, {"json": {"inputs": 3}}, 400),
    "a-value": (
        "POST",
        INFER,
        {"json": {"inputs": [{"name": "inputs", "shape": [1, 16], "datatype": "FP32", "data": [2.0] * 16}]}},
        400,
    ),
    "temperature": ("POST", INFER, {"json": request_of(TINY_BINARY, parameters={"temperature": -1})}, 400),
    "temperature-without-use": (
        "POST",
        INFER,
        {
            "json": {
                "inputs": [{"name": "codes", "shape": [1, 12], "datatype": "UINT8", "data": [1] * 12}],
                "parameters": {"temperature": 1.0},
            }
        },
        400,
    ),
    "lying-length": ("POST", INFER, {"json": {"inputs": []}, "headers": {LENGTH: "1000"}}, 400),
    "length-that-is-no-number": ("POST", INFER, {"json": {"inputs": []}, "headers": {LENGTH: "x"}}, 400),
    "compressed": ("POST", INFER, {"content": b"", "headers": {"Content-Encoding": "gzip"}}, 415),
    "too-large": ("POST", INFER, {"content": bytes((16 << 20) + 1)}, 413),
    "deadline": ("POST", INFER, {"json": request_of(TINY_BINARY, 64, parameters={"timeout": 1})}, 504),
}


@pytest.mark.parametrize(("method", "path", "rest", "status"), ERRORS.values(), ids=ERRORS)
def test_every_error_is_the_protocols(
    client: httpx.Client, method: str, path: str, rest: dict[str, Any], status: int
) -> None:
    error = conforming(client.request(method, path, **rest), ERROR, status)
    assert error["error"]
    assert len(error["error"]) <= 600
