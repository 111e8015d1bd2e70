"""The documents name every route that there is, and every field that a request can have."""

from pathlib import Path

import pytest

from service.app import create_app
from service.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
VERSION = "/versions/{version}"
# The pages write it once for all routes that have it, or in brackets.
PAGES = "\n".join(page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("*.md"))).replace(f"[{VERSION}]", "")
REST = (DOCS / "rest.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def openapi(tiny_repository: Path) -> dict:
    return create_app(Settings(model_repositories=(tiny_repository,))).openapi()


def test_every_route_is_in_the_documents(openapi: dict) -> None:
    routes = {
        f"{method.upper()} {path.replace(VERSION, '')}"
        for path, methods in openapi["paths"].items()
        for method in methods
    }
    assert "POST /v1/models/{model}/encode" in routes
    assert {route for route in routes if f"`{route}`" not in PAGES} == set()


@pytest.mark.parametrize("request_name", ["EncodeRequest", "DecodeRequest", "ReconstructRequest", "GenerateRequest"])
def test_every_field_of_a_request_is_in_the_page_of_the_interface(openapi: dict, request_name: str) -> None:
    fields = openapi["components"]["schemas"][request_name]["properties"]
    assert fields
    assert {field for field in fields if f"`{field}`" not in REST} == set()


def test_the_deadline_that_a_caller_may_set_is_in_the_document_where_it_is_kept(openapi: dict) -> None:
    with_deadline = {
        f"{method} {path}"
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
        if "X-Request-Timeout-Ms" in [parameter["name"] for parameter in operation.get("parameters", ())]
    }
    assert "post /v1/models/{model}/encode" in with_deadline
    assert with_deadline == {
        f"{method} {path}"
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
        if "504" in operation["responses"]
    }
