"""Calls of every operation of an OpenAPI document, made by schemathesis, and what every reply is held to.

Cases are the same at every run; SCHEMA_CASES=200 makes more of them.
"""

import os
from typing import NamedTuple

import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

NUM_CASES = int(os.environ.get("SCHEMA_CASES", "25"))
"""Of each operation, in each way of calling it."""

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


def repeated(num_cases: int) -> settings:
    """The same cases at every run, however long each takes."""
    return settings(
        max_examples=num_cases, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )


def anything(api: schemathesis.BaseSchema, operation: Operation) -> SearchStrategy[Case]:
    """What the document allows; models are rarely those that there are."""
    return api[operation.path][operation.method].as_strategy()


def allowed(api: schemathesis.BaseSchema, operation: Operation, model: str) -> SearchStrategy[Case]:
    """What the document allows, of a model that there is."""
    return api[operation.path][operation.method].as_strategy(path_parameters=_known(operation, model))


def not_allowed(api: schemathesis.BaseSchema, operation: Operation, model: str) -> SearchStrategy[Case]:
    """What the document does not allow, of a model that there is."""
    return api[operation.path][operation.method].as_strategy(
        GenerationMode.NEGATIVE, path_parameters=_known(operation, model)
    )


def _known(operation: Operation, model: str) -> dict[str, str]:
    known = {"model": model, "version": "1"}
    return {name: value for name, value in known.items() if f"{{{name}}}" in operation.path}
