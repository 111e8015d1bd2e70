"""Keys in the OpenAPI document: said where they are asked for, and only there; and replies that are those it has."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import given
from openapi_cases import CHECKS, NUM_CASES, Operation, allowed, anything, operations_of, repeated
from schemathesis import Case
from service_process import ServiceProcess
from tiny_models import TINY_BINARY, TINY_CATEGORICAL

from service.app import create_app
from service.catalog import Catalog
from service.settings import Settings

USER, ADMIN = "the-key-of-alice", "the-key-of-an-administrator"
KEYS = {"api_keys": f"alice:{USER}", "admin_keys": f"root:{ADMIN}"}
ADMINISTRATION = ["/v2/repository/models/{model}/load", "/v2/repository/models/{model}/unload"]
OPEN = ["/v2/health/live", "/v2/health/ready"]


def document(**settings: Any) -> dict[str, Any]:
    return create_app(Settings(model_repositories=(Path("none"),), **settings), Catalog([])).openapi()


def paths_with(document: dict[str, Any], status: str) -> set[str]:
    return {
        path
        for path, methods in document["paths"].items()
        if any(status in operation["responses"] for operation in methods.values())
    }


def paths_that_need_a_key(document: dict[str, Any]) -> set[str]:
    return {
        path
        for path, methods in document["paths"].items()
        if any("security" in operation for operation in methods.values())
    }


def test_without_keys_the_document_says_nothing_of_them() -> None:
    found = document()
    assert "securitySchemes" not in found["components"]
    assert paths_that_need_a_key(found) == paths_with(found, "401") == set()
    # Nobody is an administrator, and that is the answer.
    assert paths_with(found, "403") == set(ADMINISTRATION)


def test_with_keys_every_route_of_the_models_says_how_one_is_sent_and_what_comes_without() -> None:
    found = document(**KEYS)
    schemes = found["components"]["securitySchemes"]
    assert (schemes["bearer"]["type"], schemes["bearer"]["scheme"]) == ("http", "bearer")
    assert (schemes["api_key"]["in"], schemes["api_key"]["name"]) == ("header", "X-API-Key")
    models = {path for path in found["paths"] if path.startswith(("/v1", "/v2"))} - set(OPEN)
    assert "/v2" in models
    assert paths_that_need_a_key(found) == paths_with(found, "401") == models
    assert paths_with(found, "403") == set(ADMINISTRATION)
    for path in models:
        for operation in found["paths"][path].values():
            # One of them is enough.
            assert operation["security"] == [{"bearer": []}, {"api_key": []}]


def test_metrics_need_a_key_where_that_is_set() -> None:
    assert "/metrics" not in paths_that_need_a_key(document(**KEYS))
    assert "/metrics" in paths_that_need_a_key(document(**KEYS, open_metrics=False))
    assert "/metrics" not in paths_that_need_a_key(document(open_metrics=False))


def test_with_an_administrator_alone_only_administration_needs_a_key() -> None:
    found = document(admin_keys=KEYS["admin_keys"])
    assert paths_that_need_a_key(found) == paths_with(found, "401") == set(ADMINISTRATION)
    # There is no other key that could be known and not enough.
    assert paths_with(found, "403") == set()


OPERATIONS = operations_of(document(**KEYS))
NUM_KEY_CASES = max(1, NUM_CASES // 5)


@pytest.fixture(scope="module")
def guarded(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    log = tmp_path_factory.mktemp("guarded") / "log"
    with ServiceProcess([tiny_repository], log=log, open_metrics=False, **KEYS) as service:
        yield service


@pytest.fixture(scope="module")
def api(guarded: ServiceProcess) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{guarded.url}/openapi.json")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
def test_with_a_key_every_reply_is_one_that_the_document_has(
    api: schemathesis.BaseSchema, operation: Operation, header: str
) -> None:
    is_administration = operation.path in ADMINISTRATION
    key = ADMIN if is_administration else USER
    headers = {"X-API-Key": key} if header == "X-API-Key" else {"Authorization": f"Bearer {key}"}
    # What is loaded and unloaded here is a model that nobody else asks for.
    model = TINY_CATEGORICAL if is_administration else TINY_BINARY

    @repeated(NUM_KEY_CASES)
    @given(case=allowed(api, operation, model.name))
    def call(case: Case) -> None:
        case.headers = {}  # schemathesis makes up a key where one is asked for
        response = case.call_and_validate(checks=CHECKS, headers=headers, timeout=30)
        assert response.status_code not in (401, 403)
        assert response.status_code < 500 or response.status_code == 504

    call()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": f"{USER}x"}, {"Authorization": "Basic YTpi"}],
    ids=["no-key", "an-unknown-key", "another-scheme"],
)
def test_without_a_key_every_reply_is_one_that_the_document_has(
    api: schemathesis.BaseSchema, operation: Operation, headers: dict[str, str]
) -> None:
    @repeated(NUM_KEY_CASES)
    @given(case=anything(api, operation))
    def call(case: Case) -> None:
        case.headers = {}
        response = case.call_and_validate(checks=CHECKS, headers=headers, timeout=30)
        assert (response.status_code == 401) == (operation.path not in OPEN)

    call()


@pytest.mark.parametrize("path", ADMINISTRATION)
def test_a_key_that_is_no_administrators_gets_the_403_of_the_document(api: schemathesis.BaseSchema, path: str) -> None:
    @repeated(NUM_KEY_CASES)
    @given(case=allowed(api, Operation(path, "post"), TINY_CATEGORICAL.name))
    def call(case: Case) -> None:
        case.headers = {}
        assert case.call_and_validate(checks=CHECKS, headers={"X-API-Key": USER}, timeout=30).status_code == 403

    call()
