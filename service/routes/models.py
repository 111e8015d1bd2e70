"""What is served: the manifests, and where each model runs."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from models.manifest import Manifest
from service import wire
from service.catalog import Catalog
from service.engine import Engine
from service.openapi import problem_responses, reply_content
from service.parts import parts_of
from service.routes.versions import MODEL, VERSION, ModelName, Version, find
from service.schemas import ExamplesReply, ModelList, ModelReply


async def list_models(request: Request) -> Response:
    """Every model that is served, with its versions."""
    catalog = parts_of(request).catalog
    return _json({"models": [_summary(catalog, name) for name in catalog.names()]})


async def get_model(request: Request, model: ModelName) -> Response:
    """The manifest of the highest version, without its golden vectors and usage, and the provider that runs it."""
    catalog = parts_of(request).catalog
    return _json(_description(catalog, find(catalog, model)))


async def get_model_version(request: Request, model: ModelName, version: Version) -> Response:
    """The same for one version."""
    catalog = parts_of(request).catalog
    return _json(_description(catalog, find(catalog, model, version)))


async def get_examples(request: Request, model: ModelName) -> Response:
    """Inputs that came with the highest version, to try it with: a few rows of the data it was measured on."""
    return _json(_examples(find(parts_of(request).catalog, model)))


async def get_examples_with_version(request: Request, model: ModelName, version: Version) -> Response:
    """The same for one version."""
    return _json(_examples(find(parts_of(request).catalog, model, version)))


def router() -> APIRouter:
    """Descriptions, and inputs to try a model with."""
    routes = APIRouter(tags=["models"])
    listed = reply_content(ModelList) | problem_responses(500)
    described = reply_content(ModelReply) | problem_responses(404, 500, 503)
    routes.add_api_route(
        "/v1/models", list_models, operation_id="list_models", summary="Models", response_model=None, responses=listed
    )
    routes.add_api_route(
        MODEL, get_model, operation_id="get_model", summary="One model", response_model=None, responses=described
    )
    routes.add_api_route(
        VERSION,
        get_model_version,
        operation_id="get_model_with_version",
        summary="One version of a model",
        response_model=None,
        responses=described,
    )
    examples = reply_content(ExamplesReply) | problem_responses(404, 500, 503)
    for path, handler, operation_id in (
        (MODEL, get_examples, "get_examples"),
        (VERSION, get_examples_with_version, "get_examples_with_version"),
    ):
        routes.add_api_route(
            f"{path}/examples",
            handler,
            operation_id=operation_id,
            summary="Inputs to try a model with",
            response_model=None,
            responses=examples,
        )
    return routes


def _summary(catalog: Catalog, name: str) -> dict[str, Any]:
    versions = catalog.versions(name)
    manifest = catalog.get(name, versions[-1]).manifest
    described = _plain(manifest)
    kept = ("name", "description", "kind", "num_latents", "num_categories", "code_bits", "input")
    return {field: described[field] for field in kept} | {
        "version": catalog.default_version(name),
        "versions": versions,
        "refused": _refused(catalog, name),
    }


def _description(catalog: Catalog, engine: Engine) -> dict[str, Any]:
    versions = catalog.versions(engine.manifest.name)
    return _plain(engine.manifest) | {
        "manifest_sha256": engine.manifest_sha256,
        "versions": versions,
        "refused": _refused(catalog, engine.manifest.name),
        "provider": engine.provider,
        "near_tie_margin": engine.near_tie_margin,
    }


def _refused(catalog: Catalog, name: str) -> list[dict[str, Any]]:
    return [{"version": refusal.version, "reason": refusal.reason} for refusal in catalog.refusals(name)]


def _examples(engine: Engine) -> dict[str, Any]:
    manifest = engine.manifest
    inputs = manifest.golden.inputs.array().reshape(-1, *manifest.input.shape)
    return {"model": manifest.name, "version": manifest.version, "inputs": inputs}


def _plain(manifest: Manifest) -> dict[str, Any]:
    return manifest.model_dump(mode="json", exclude={"golden", "usage"}) | {"code_bits": manifest.code_bits}


def _json(reply: dict[str, Any]) -> Response:
    return Response(wire.to_json(reply), media_type=wire.JSON)
