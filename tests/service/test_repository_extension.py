"""The model repository extension over HTTP, by Triton's own client: index, load and unload, for administrators."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from service_process import ServiceProcess
from tiny_models import TINY_BINARY
from tritonclient.utils import InferenceServerException
from waiting import eventually

from models.repository import Repository

ADMIN_KEY, USER_KEY = "an-administrators-key", "a-users-key-of-some-length"
ADMIN = {"X-API-Key": ADMIN_KEY}
USER = {"X-API-Key": USER_KEY}


@pytest.fixture
def root(tmp_path: Path, tiny_repository: Path) -> Path:
    """A repository of the two tiny models, to be written to."""
    return Path(shutil.copytree(tiny_repository, tmp_path / "repository"))


@pytest.fixture
def service(root: Path, tmp_path: Path) -> Iterator[ServiceProcess]:
    """Two workers that look at nothing by themselves, for administrators and users with keys."""
    with ServiceProcess(
        [root],
        log=tmp_path / "log",
        workers=2,
        repository_poll_seconds=0,
        admin_keys=f"ops:{ADMIN_KEY}",
        api_keys=f"me:{USER_KEY}",
    ) as service:
        yield service


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        yield client


def states(index: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    return [(entry["name"], entry["version"], entry["state"]) for entry in index]


def versions_that_answer(service: ServiceProcess, count: int = 30) -> set[int | str]:
    """Of requests without a version, each on a connection of its own, so that every worker is asked."""
    seen: set[int | str] = set()
    for _ in range(count):
        reply = httpx.post(
            f"{service.url}/v1/models/tiny-binary/encode",
            json={"inputs": TINY_BINARY.inputs(1).tolist()},
            headers=USER,
            timeout=30,
        )
        seen.add(reply.json()["version"] if reply.status_code == 200 else f"status {reply.status_code}")
    return seen


def test_loading_and_unloading_are_done_in_every_worker_when_they_answer(
    service: ServiceProcess, client: triton.InferenceServerClient, root: Path
) -> None:
    assert client.get_server_metadata(headers=USER)["extensions"][-1] == "model_repository"
    assert states(client.get_model_repository_index(headers=USER)) == [
        ("tiny-binary", "1", "READY"),
        ("tiny-categorical", "1", "READY"),
    ]
    TINY_BINARY.publish(Repository(root))
    [new] = [entry for entry in client.get_model_repository_index(headers=USER) if entry["version"] == "2"]
    assert (new["state"], new["reason"]) == ("UNAVAILABLE", "not loaded yet")
    assert versions_that_answer(service) == {1}
    client.load_model("tiny-binary", headers=ADMIN)
    assert versions_that_answer(service) == {2}
    client.unload_model("tiny-binary", headers=ADMIN)
    assert versions_that_answer(service) == {"status 404"}
    assert not client.is_model_ready("tiny-binary", headers=USER)
    assert client.is_server_ready()
    only_ready = httpx.post(f"{service.url}/v2/repository/index", json={"ready": True}, headers=USER, timeout=30).json()
    assert states(only_ready) == [("tiny-categorical", "1", "READY")]
    client.load_model("tiny-binary", headers=ADMIN)
    assert versions_that_answer(service) == {2}


def test_a_broken_version_is_refused_with_its_reason_and_the_old_one_serves(
    service: ServiceProcess, client: triton.InferenceServerClient, root: Path
) -> None:
    folder = TINY_BINARY.publish(Repository(root)).folder
    (folder / "decoder.onnx").write_bytes(b"broken")
    with pytest.raises(
        InferenceServerException, match=r"version 2 .* its files are altered.*; version 1 is served"
    ) as e:
        client.load_model("tiny-binary", headers=ADMIN)
    assert e.value.status() == "400"
    assert versions_that_answer(service) == {1}
    [broken] = [entry for entry in client.get_model_repository_index(headers=USER) if entry["version"] == "2"]
    assert broken["state"] == "UNAVAILABLE"
    assert broken["reason"].startswith("its files are altered")
    assert str(root) not in str(broken)
    assert str(folder) in service.log_text()
    assert client.is_server_ready()


@pytest.mark.parametrize("action", ["load", "unload"])
@pytest.mark.parametrize("headers", [{}, USER, {"X-API-Key": "wrong" * 5}], ids=["none", "users", "wrong"])
def test_only_administrators_change_what_is_served(
    service: ServiceProcess, action: str, headers: dict[str, str]
) -> None:
    reply = httpx.post(f"{service.url}/v2/repository/models/tiny-binary/{action}", headers=headers, timeout=30)
    assert reply.status_code in (401, 403)
    assert list(reply.json()) == ["error"]
    assert versions_that_answer(service, 5) == {1}


REFUSED: dict[str, tuple[str, Any, int]] = {
    "unknown-model": ("models/nothing/load", {}, 404),
    "unload-what-is-not-there": ("models/nothing/unload", {}, 404),
    "a-path": ("models/..%2Ftiny-binary/load", {}, 404),
    "a-configuration": ("models/tiny-binary/load", {"parameters": {"config": "{}"}}, 400),
    "files": ("models/tiny-binary/load", {"parameters": {"file:1/model.onnx": "AAAA"}}, 400),
    "parameters-list": ("models/tiny-binary/load", {"parameters": [1]}, 400),
    "a-list": ("models/tiny-binary/unload", [], 400),
    "unknown-parameter": ("models/tiny-binary/unload", {"parameters": {"dependents": True}}, 400),
    "dependents-number": ("models/tiny-binary/unload", {"parameters": {"unload_dependents": 1}}, 400),
    "index-number": ("index", 3, 400),
    "index-ready-text": ("index", {"ready": "yes"}, 400),
}


def test_requests_that_do_not_fit_change_nothing(service: ServiceProcess) -> None:
    for name, (path, body, status) in REFUSED.items():
        reply = httpx.post(f"{service.url}/v2/repository/{path}", json=body, headers=ADMIN, timeout=30)
        assert reply.status_code == status, (name, reply.text)
        assert list(reply.json()) == ["error"], name
    assert versions_that_answer(service, 5) == {1}
    malformed = httpx.post(
        f"{service.url}/v2/repository/models/tiny-binary/load", content=b"{", headers=ADMIN, timeout=30
    )
    assert malformed.status_code == 400


def test_without_an_administrators_key_nobody_changes_what_is_served(running_service: ServiceProcess) -> None:
    for action in ("load", "unload"):
        reply = httpx.post(
            f"{running_service.url}/v2/repository/models/tiny-binary/{action}", headers=ADMIN, timeout=30
        )
        assert reply.status_code == 403
        assert "administration is off" in reply.json()["error"]
    assert "model_repository" not in httpx.get(f"{running_service.url}/v2", timeout=30).json()["extensions"]
    assert httpx.post(f"{running_service.url}/v2/repository/index", timeout=30).status_code == 200


@pytest.mark.slow
def test_no_request_is_dropped_while_models_are_loaded_and_unloaded_beside_it(
    service: ServiceProcess, client: triton.InferenceServerClient, root: Path
) -> None:
    """On connections that stay, while new versions of their model come and another model goes and comes."""
    stop, failures, counts = threading.Event(), [], [0, 0]
    inputs = TINY_BINARY.inputs(40)
    expected = TINY_BINARY.encode(inputs, temperature=0.8, seed=4).codes
    body = {"inputs": inputs.tolist(), "temperature": 0.8, "seed": 4}

    def ask(number: int) -> None:
        with httpx.Client(base_url=service.url, timeout=30, headers=USER) as http:
            while not stop.is_set():
                reply = http.post("/v1/models/tiny-binary/encode", json=body)
                if reply.status_code != 200 or not np.array_equal(reply.json()["codes"], expected):
                    failures.append((reply.status_code, reply.text[:300]))
                counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            TINY_BINARY.publish(Repository(root))
            client.load_model("tiny-binary", headers=ADMIN)
            client.unload_model("tiny-categorical", headers=ADMIN)
            client.load_model("tiny-categorical", headers=ADMIN)
            time.sleep(0.1)
        eventually(lambda: bool(failures) or min(counts) > 10)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert versions_that_answer(service) == {7}
