"""Probes, at the paths of the Open Inference Protocol."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import wire
from service.openapi import reply_content
from service.parts import Parts, parts_of
from service.schemas import Live, Ready


async def live() -> Response:
    """The process answers. Says nothing about the models: restarting would not mend a broken one."""
    return Response(wire.to_json({"live": True}), media_type=wire.JSON)


async def ready(request: Request) -> Response:
    """200 when a version of every model on disk is served, there is a model, and all workers take requests; else 503.

    `failed` names the versions that would answer by default, had they not been refused; `reasons` says why the service
    as a whole should get no requests.
    """
    found = readiness(parts_of(request))
    return Response(wire.to_json(found), 200 if found["ready"] else 503, media_type=wire.JSON)


def readiness(parts: Parts) -> dict[str, Any]:
    """Of the whole service, as `schemas.Ready` describes it."""
    of_models = parts.catalog.readiness()
    parts.membership.pen.models_ready(of_models.ready)
    reasons = list(parts.membership.obstacles(saturated_seconds=parts.settings.saturated_seconds))
    failed = [
        {"model": refusal.name, "version": refusal.version, "reason": refusal.reason} for refusal in of_models.failed
    ]
    return {"ready": of_models.ready and not reasons, "failed": failed, "reasons": reasons}


def router() -> APIRouter:
    """Liveness and readiness."""
    routes = APIRouter(prefix="/v2/health", tags=["health"])
    routes.add_api_route(
        "/live",
        live,
        operation_id="is_live",
        summary="Does the process answer?",
        response_model=None,
        responses=reply_content(Live),
    )
    routes.add_api_route(
        "/ready",
        ready,
        operation_id="is_ready",
        summary="Are all models served?",
        response_model=None,
        responses=reply_content(Ready) | reply_content(Ready, status=503, description="Not ready"),
    )
    return routes
