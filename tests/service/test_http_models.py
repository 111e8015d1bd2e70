"""What the service says about itself: models, health, the OpenAPI document and its page."""

import hashlib
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import numpy as np
import pytest
from service_process import ServiceProcess
from tiny_models import TINY_BINARY, TINY_CATEGORICAL, TINY_MODELS

from models.repository import Repository
from service.schemas import ExamplesReply, ModelList, ModelReply, Problem, Ready


@pytest.fixture
def client(running_service: ServiceProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running_service.url, timeout=30) as client:
        yield client


def test_every_served_model_is_listed_with_its_shape(client: httpx.Client) -> None:
    reply = client.get("/v1/models").json()
    ModelList.model_validate_json(client.get("/v1/models").content)
    assert [model["name"] for model in reply["models"]] == ["tiny-binary", "tiny-categorical"]
    for found, model in zip(reply["models"], (TINY_BINARY, TINY_CATEGORICAL), strict=True):
        assert (found["version"], found["versions"]) == (1, [1])
        assert (found["kind"], found["num_latents"]) == (model.kind, model.num_latents)
        assert found["code_bits"] == model.layout.num_bits
        assert found["input"]["shape"] == list(model.input_shape)


def test_a_model_is_described_by_its_manifest_and_where_it_runs(client: httpx.Client, tiny_repository: Path) -> None:
    reply = client.get("/v1/models/tiny-categorical")
    ModelReply.model_validate_json(reply.content)
    manifest = Repository(tiny_repository).read("tiny-categorical").manifest
    described = reply.json()
    assert described.pop("provider") == "CPUExecutionProvider"
    assert described.pop("versions") == [1]
    assert described.pop("refused") == []
    assert described.pop("code_bits") == 15
    assert described.pop("near_tie_margin") == 0.0
    of_file = hashlib.sha256((tiny_repository / "tiny-categorical" / "1" / "manifest.json").read_bytes()).hexdigest()
    assert described.pop("manifest_sha256") == of_file
    assert described == manifest.model_dump(mode="json", exclude={"golden", "usage"})
    assert client.get("/v1/models/tiny-categorical/versions/1").json() == reply.json()


def test_the_provider_of_each_model_is_in_the_log(running_service: ServiceProcess) -> None:
    for name in ("tiny-binary", "tiny-categorical"):
        assert f"model {name} version 1 is served on CPUExecutionProvider" in running_service.log_text()


def test_a_whole_service_is_live_and_ready(client: httpx.Client) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    reply = client.get("/v2/health/ready")
    assert (reply.status_code, reply.json()) == (200, {"ready": True, "failed": [], "reasons": []})


def flip_a_byte(graph: Path) -> None:
    with graph.open("r+b") as file:
        file.seek(100)
        byte = file.read(1)[0]
        file.seek(100)
        file.write(bytes([byte ^ 1]))


def test_a_service_with_a_broken_model_serves_the_others_and_says_so(tmp_path: Path, tiny_repository: Path) -> None:
    repository = Path(shutil.copytree(tiny_repository, tmp_path / "repository"))
    broken = repository / "tiny-binary" / "1" / "encoder.onnx"
    flip_a_byte(broken)
    with (
        ServiceProcess([repository], log=tmp_path / "log", wait_until="live") as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):
        ready = client.get("/v2/health/ready")
        assert ready.status_code == 503
        Ready.model_validate_json(ready.content)
        [failed] = ready.json()["failed"]
        assert (failed["model"], failed["version"]) == ("tiny-binary", 1)
        assert str(tmp_path) not in ready.text
        assert str(broken) in service.log_text()

        body = {"inputs": TINY_BINARY.inputs(1).tolist()}
        refused = client.post("/v1/models/tiny-binary/encode", json=body)
        assert refused.status_code == 503
        assert str(tmp_path) not in refused.text
        Problem.model_validate_json(refused.content)
        assert client.get("/v1/models/tiny-binary").status_code == 503
        assert client.post("/v1/models/tiny-binary/versions/1/encode", json=body).status_code == 503
        assert client.post("/v1/models/tiny-categorical/generate", json={}).status_code == 200
        assert [model["name"] for model in client.get("/v1/models").json()["models"]] == ["tiny-categorical"]


def test_a_service_with_a_broken_new_version_serves_the_old_one_and_says_so(
    tmp_path: Path, tiny_repository: Path
) -> None:
    repository = Path(shutil.copytree(tiny_repository, tmp_path / "repository"))
    TINY_BINARY.publish(Repository(repository))
    flip_a_byte(repository / "tiny-binary" / "2" / "encoder.onnx")
    with (
        ServiceProcess([repository], log=tmp_path / "log") as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):
        ready = client.get("/v2/health/ready")
        assert ready.status_code == 200
        Ready.model_validate_json(ready.content)
        [failed] = ready.json()["failed"]
        assert (failed["model"], failed["version"]) == ("tiny-binary", 2)
        assert str(tmp_path) not in ready.text

        body = {"inputs": TINY_BINARY.inputs(1).tolist()}
        assert client.post("/v1/models/tiny-binary/encode", json=body).json()["version"] == 1
        assert client.post("/v1/models/tiny-binary/versions/2/encode", json=body).status_code == 503
        described = client.get("/v1/models/tiny-binary").json()
        assert described["refused"] == [{"version": 2, "reason": failed["reason"]}]
        [listed, _] = client.get("/v1/models").json()["models"]
        assert (listed["version"], listed["versions"], listed["refused"]) == (1, [1], described["refused"])


@pytest.mark.slow
def test_a_new_version_is_served_while_requests_come_and_none_is_dropped(tmp_path: Path, tiny_repository: Path) -> None:
    """Every answer is that of a whole model: the codes of both versions are the oracle's."""
    repository = Path(shutil.copytree(tiny_repository, tmp_path / "repository"))
    inputs = TINY_BINARY.inputs(3)
    expected = TINY_BINARY.encode(inputs).codes.tolist()
    with (
        ServiceProcess([repository], log=tmp_path / "log", repository_poll_seconds=0.1) as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):
        seen = set()
        for newest in range(1, 5):
            deadline = time.monotonic() + 30
            while newest not in seen:
                assert time.monotonic() < deadline
                reply = client.post("/v1/models/tiny-binary/encode", json={"inputs": inputs.tolist()})
                assert reply.status_code == 200, reply.text
                assert reply.json()["codes"] == expected
                seen.add(reply.json()["version"])
            TINY_BINARY.publish(Repository(repository))
        assert seen == {1, 2, 3, 4}


def test_a_service_without_models_is_live_and_not_ready(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with ServiceProcess([tmp_path / "empty"], log=tmp_path / "log", wait_until="live") as service:
        ready = httpx.get(f"{service.url}/v2/health/ready", timeout=30)
        assert (ready.status_code, ready.json()) == (
            503,
            {"ready": False, "failed": [], "reasons": ["not every worker serves all models"]},
        )
        assert httpx.get(f"{service.url}/v1/models", timeout=30).json() == {"models": []}
        assert httpx.get(f"{service.url}/openapi.json", timeout=30).status_code == 200


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


@pytest.fixture
def document(client: httpx.Client) -> dict[str, Any]:
    return dict(client.get("/openapi.json").json())


def test_every_route_is_described(document: dict[str, Any]) -> None:
    verbs = ("encode", "decode", "reconstruct", "generate")
    model, version = "/v1/models/{model}", "/v1/models/{model}/versions/{version}"
    posts = {(f"{at}/{verb}", "post") for at in (model, version) for verb in verbs}
    examples = (f"{model}/examples", f"{version}/examples")
    health = ("/v2/health/live", "/v2/health/ready")
    gets = {(path, "get") for path in ("/v1/models", model, version, *examples, "/v2", *health)}
    for at in (model.replace("v1", "v2"), version.replace("v1", "v2")):
        posts.add((f"{at}/infer", "post"))
        gets |= {(at, "get"), (f"{at}/ready", "get"), (f"{at}/stats", "get")}
    gets.add(("/v2/models/stats", "get"))
    repository = "/v2/repository/models/{model}"
    posts |= {("/v2/repository/index", "post"), (f"{repository}/load", "post"), (f"{repository}/unload", "post")}
    gets |= {("/metrics", "get"), (f"{model}/statistics", "get"), (f"{version}/statistics", "get")}
    assert {(path, method) for path, method, _ in operations(document)} == posts | gets


def test_operations_have_stable_names_in_snake_case(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in names)
    assert {"encode", "decode", "reconstruct", "generate", "list_models", "get_model"} <= set(names)


def test_every_reference_leads_to_a_schema(document: dict[str, Any]) -> None:
    references = set(re.findall(r"'\$ref': '([^']+)'", repr(document)))
    assert references
    for reference in references:
        part: Any = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
        assert part.get("type") in {"object", "string", "array"} or "/properties/" in reference


def test_every_reply_and_error_has_a_schema(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        if path == "/metrics":
            continue  # its text is Prometheus' to describe
        is_v1 = path.startswith("/v1/")
        for status, response in operation["responses"].items():
            media_type = "application/problem+json" if is_v1 and status != "200" else "application/json"
            others = written(path) if status == "200" and method == "post" else set()
            assert set(response["content"]) == {media_type, *others}, (path, status)
            assert "$ref" in response["content"][media_type]["schema"]
        if method == "post":
            if "/repository/" not in path:
                statuses = "200 400 404 406 413 415 422 500 503 504" if is_v1 else "200 400 404 413 415 500 503 504"
                assert set(operation["responses"]) == set(statuses.split())
            bodies = operation["requestBody"]["content"]
            assert "$ref" in bodies["application/json"]["schema"]
            assert set(bodies) == {"application/json", *read(path)}


def read(path: str) -> set[str]:
    """Types of body, beside JSON."""
    if path.startswith("/v2/"):
        return {"application/octet-stream"} if path.endswith("/infer") else set()
    if path.endswith("/generate"):
        return set()
    arrays = {"application/x-npy", "application/octet-stream"}
    return arrays if path.endswith("/decode") else arrays | {"image/png", "image/jpeg"}


def written(path: str) -> set[str]:
    """Types of reply, beside JSON."""
    if path.startswith("/v2/"):
        return {"application/octet-stream"} if path.endswith("/infer") else set()
    return {"application/x-npy"} if path.endswith("/encode") else {"application/x-npy", "image/png"}


def test_every_example_runs_as_it_stands(client: httpx.Client, document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        filled = path
        for parameter in operation.get("parameters", ()):
            if parameter["in"] != "path":
                continue
            filled = filled.replace(f"{{{parameter['name']}}}", parameter["example"])
        body = operation["requestBody"]["content"]["application/json"]["example"] if method == "post" else None
        reply = client.request(method, filled, json=body)
        # This service has no administrator; `test_repository_extension` does what one may.
        expected = 403 if "/v2/repository/models/" in path else 200
        assert reply.status_code == expected, (filled, reply.text)


def test_the_documentation_page_needs_no_other_server(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    links = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text)
    assert len(links) >= 3
    for link in links:
        assert not urlsplit(link).netloc
        asset = client.get(urljoin("/docs", link))
        assert asset.status_code == 200
        assert len(asset.content) > 1000
    assert "/openapi.json" in page.text


def test_the_examples_of_a_model_are_the_inputs_that_it_was_published_with(client: httpx.Client) -> None:
    for model in TINY_MODELS:
        for at in ("", "/versions/1"):
            reply = client.get(f"/v1/models/{model.name}{at}/examples").json()
            ExamplesReply.model_validate(reply)
            np.testing.assert_array_equal(np.float32(reply["inputs"]), model.inputs(3, seed=1))
            assert (reply["model"], reply["version"]) == (model.name, 1)
            assert client.post(f"/v1/models/{model.name}/encode", json={"inputs": reply["inputs"]}).status_code == 200
    assert client.get("/v1/models/nothing/examples").status_code == 404
