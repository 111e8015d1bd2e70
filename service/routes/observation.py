"""What can be seen of the service: metrics for Prometheus, and how a model's codes are used."""

import anyio.to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import wire
from service.errors import UsageUncounted
from service.observation import usage
from service.observation.metrics import CONTENT_TYPE
from service.openapi import Responses, problem_responses, reply_content
from service.parts import Parts, parts_of
from service.routes.health import readiness
from service.routes.versions import MODEL, VERSION, ModelName, Version, find
from service.schemas import UsageReply


async def metrics(request: Request) -> Response:
    """Prometheus' text format, of all workers together."""
    parts = parts_of(request)
    is_ready = readiness(parts)["ready"]
    # Some milliseconds of reading, during which requests go on.
    content = await anyio.to_thread.run_sync(_exposition, parts, is_ready)
    return Response(content, media_type=CONTENT_TYPE)


async def get_usage(request: Request, model: ModelName) -> Response:
    """How each latent of the model's codes was used over the last minutes: entropy, dead latents, drift, near ties."""
    return _usage(parts_of(request), model, None)


async def get_usage_with_version(request: Request, model: ModelName, version: Version) -> Response:
    """The same for one version."""
    return _usage(parts_of(request), model, version)


def router() -> APIRouter:
    """The three routes."""
    routes = APIRouter(tags=["observation"])
    text: Responses = {200: {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    routes.add_api_route(
        "/metrics", metrics, operation_id="metrics", summary="Metrics", response_model=None, responses=text
    )
    responses = reply_content(UsageReply) | problem_responses(404, 500, 503)
    for path, answer in ((f"{MODEL}/statistics", get_usage), (f"{VERSION}/statistics", get_usage_with_version)):
        routes.add_api_route(
            path,
            answer,
            operation_id=answer.__name__,
            summary="How the codes are used",
            response_model=None,
            responses=responses,
        )
    return routes


def _exposition(parts: Parts, is_ready: bool) -> bytes:
    counted = (
        (engine.manifest, found)
        for engine in parts.catalog.engines
        if (found := parts.usage.usage(engine.manifest)) is not None
    )
    return parts.metrics.exposition(parts.catalog, ready=is_ready, more=usage.samples(counted))


def _usage(parts: Parts, model: str, version: str | None) -> Response:
    manifest = find(parts.catalog, model, version).manifest
    parts.usage.flush()
    found = parts.usage.usage(manifest)
    if found is None:
        raise UsageUncounted(f"model {manifest.name} has too many symbols for its codes to be counted")
    reply = usage.described(manifest, found, parts.settings.usage_window_seconds)
    return Response(wire.to_json(reply), media_type=wire.JSON)
