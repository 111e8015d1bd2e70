"""Every operation of the OpenAPI document, called with what its schemas allow and with what they do not.

schemathesis makes the calls from the document that the service itself serves, and holds each reply to it: no status,
type, header or body that is not written there, and no request accepted that it does not allow. Cases are the same at
every run; SCHEMA_CASES=200 makes more of them.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from service_process import ServiceProcess
from tiny_models import TINY_BINARY

from service.app import create_app
from service.catalog import Catalog
from service.settings import Settings

CASES = int(os.environ.get("SCHEMA_CASES", "25"))
"""Of each operation, in each of three ways."""

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]


class Operation(NamedTuple):
    """One of the document."""

    path: str
    method: str

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"


def operations_of(document: dict[str, dict[str, dict[str, object]]]) -> list[Operation]:
    return [Operation(path, method) for path, methods in document["paths"].items() for method in methods]


OPERATIONS = operations_of(create_app(Settings(model_repositories=(Path("none"),)), Catalog([])).openapi())


@pytest.fixture(scope="module")
def api(running_service: ServiceProcess) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{running_service.url}/openapi.json")


@pytest.fixture(scope="module")
def client(running_service: ServiceProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running_service.url, timeout=30) as client:
        yield client


def test_the_operations_called_here_are_those_of_a_running_service(client: httpx.Client) -> None:
    assert operations_of(client.get("/openapi.json").json()) == OPERATIONS


def anything(api: schemathesis.BaseSchema, operation: Operation) -> SearchStrategy[Case]:
    """What the document allows; models are rarely those that there are."""
    return api[operation.path][operation.method].as_strategy()


def allowed(api: schemathesis.BaseSchema, operation: Operation) -> SearchStrategy[Case]:
    """What the document allows, of a model that there is."""
    return api[operation.path][operation.method].as_strategy(path_parameters=known_model(operation))


def not_allowed(api: schemathesis.BaseSchema, operation: Operation) -> SearchStrategy[Case]:
    """What the document does not allow, of a model that there is."""
    return api[operation.path][operation.method].as_strategy(
        GenerationMode.NEGATIVE, path_parameters=known_model(operation)
    )


def known_model(operation: Operation) -> dict[str, str]:
    known = {"model": TINY_BINARY.name, "version": "1"}
    return {name: value for name, value in known.items() if f"{{{name}}}" in operation.path}


WAYS = [
    pytest.param(operation, cases, id=f"{operation} {cases.__name__}")
    for operation in OPERATIONS
    for cases in (anything, allowed, not_allowed)
    # Without a body there is nothing that is not allowed.
    if cases is not not_allowed or operation.method == "post"
]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("operation", "cases"), WAYS)
def test_every_reply_is_one_that_the_document_has(
    api: schemathesis.BaseSchema,
    operation: Operation,
    cases: Callable[[schemathesis.BaseSchema, Operation], SearchStrategy[Case]],
) -> None:
    @settings(max_examples=CASES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=cases(api, operation))
    def call(case: Case) -> None:
        refused = [negative_data_rejection] if cases is not_allowed else []
        response = case.call_and_validate(checks=[*CHECKS, *refused], timeout=30)
        # A deadline of some microseconds is allowed, and passes.
        assert response.status_code < 500 or response.status_code == 504

    call()
