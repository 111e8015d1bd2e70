"""Every operation of the OpenAPI document, called with what its schemas allow and with what they do not.

schemathesis makes the calls from the document that the service itself serves, and holds each reply to it: no status,
type, header or body that is not written there, and no request accepted that it does not allow.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import given
from hypothesis.strategies import SearchStrategy
from openapi_cases import CHECKS, NUM_CASES, Operation, allowed, anything, not_allowed, operations_of, repeated
from schemathesis import Case
from schemathesis.specs.openapi.checks import negative_data_rejection
from service_process import ServiceProcess
from tiny_models import TINY_BINARY

from service.app import create_app
from service.catalog import Catalog
from service.settings import Settings

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


WAYS: list[tuple[str, Callable[[schemathesis.BaseSchema, Operation], SearchStrategy[Case]]]] = [
    ("anything", anything),
    ("allowed", lambda api, operation: allowed(api, operation, TINY_BINARY.name)),
    ("not_allowed", lambda api, operation: not_allowed(api, operation, TINY_BINARY.name)),
]
CALLS = [
    pytest.param(operation, way, cases, id=f"{operation} {way}")
    for operation in OPERATIONS
    for way, cases in WAYS
    # Without a body there is nothing that is not allowed.
    if way != "not_allowed" or operation.method == "post"
]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("operation", "way", "cases"), CALLS)
def test_every_reply_is_one_that_the_document_has(
    api: schemathesis.BaseSchema,
    operation: Operation,
    way: str,
    cases: Callable[[schemathesis.BaseSchema, Operation], SearchStrategy[Case]],
) -> None:
    @repeated(NUM_CASES)
    @given(case=cases(api, operation))
    def call(case: Case) -> None:
        refused = [negative_data_rejection] if way == "not_allowed" else []
        response = case.call_and_validate(checks=[*CHECKS, *refused], timeout=30)
        # A deadline of some microseconds is allowed, and passes.
        assert response.status_code < 500 or response.status_code == 504

    call()
