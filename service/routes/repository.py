"""The model repository extension of the Open Inference Protocol: the index, load and unload.

Who may load and unload is `service.admission`'s to say.
"""

import logging
from typing import Any

import anyio
import anyio.to_thread
import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.exchange import exchange_of
from service.live_models import Entry
from service.open_inference import repository
from service.open_inference.schemas import (
    RepositoryIndex,
    RepositoryIndexRequest,
    RepositoryLoadRequest,
    RepositoryUnloadRequest,
)
from service.openapi import protocol_error_responses, reply_content, request_body
from service.parts import Parts, parts_of
from service.routes.versions import ModelName
from service.wire import JSON, read_body

_logger = logging.getLogger(__name__)


async def get_repository_index(request: Request) -> Response:
    """Every version on disk or in service, whether it is served, and why not."""
    parts = parts_of(request)
    only_ready = repository.reads_only_ready(await _body(request, parts))
    return _json(repository.index(await _entries(parts), only_ready=only_ready))


async def load_model(request: Request, model: ModelName) -> Response:
    """Serve the model as it is on disk: what is new, what was refused after another try, what was unloaded again.

    Answers when every worker has done it, with the model's entries of the index. 400 when the highest version was
    refused; what was served before still is.
    """
    parts = parts_of(request)
    repository.check_load(await _body(request, parts))
    _logger.info("request %s: load model %r", exchange_of(request.scope).request_id, model)
    await parts.model_control.load(model)
    return await _entries_of(parts, model)


async def unload_model(request: Request, model: ModelName) -> Response:
    """Take every version of the model out of service, until it is loaded again or the service is restarted.

    Answers when every worker has done it, with the model's entries of the index. Requests that run already end as they
    would have.
    """
    parts = parts_of(request)
    repository.check_unload(await _body(request, parts))
    _logger.info("request %s: unload model %r", exchange_of(request.scope).request_id, model)
    await parts.model_control.unload(model)
    return await _entries_of(parts, model)


def router() -> APIRouter:
    """The three of them."""
    routes = APIRouter(tags=["model repository"])
    routes.add_api_route(
        "/v2/repository/index",
        get_repository_index,
        methods=["POST"],
        operation_id="get_repository_index",
        summary="The repository's index",
        response_model=None,
        openapi_extra=_optional_body(RepositoryIndexRequest, "index"),
        responses=reply_content(RepositoryIndex) | protocol_error_responses(400, 413, 415, 500, 504),
    )
    for path, answer, summary, body in (
        ("load", load_model, "Load a model", _optional_body(RepositoryLoadRequest, "load")),
        ("unload", unload_model, "Unload a model", _optional_body(RepositoryUnloadRequest, "unload")),
    ):
        routes.add_api_route(
            f"/v2/repository/models/{{model}}/{path}",
            answer,
            methods=["POST"],
            operation_id=answer.__name__,
            summary=summary,
            response_model=None,
            openapi_extra=body,
            responses=reply_content(RepositoryIndex) | protocol_error_responses(400, 404, 413, 415, 500, 503, 504),
        )
    return routes


def _optional_body(model: Any, operation: str) -> dict[str, Any]:
    body = request_body(model, operation)
    body["requestBody"]["required"] = False
    del body["parameters"]
    return body


async def _body(request: Request, parts: Parts) -> bytes:
    return bytes(await read_body(exchange_of(request.scope), parts.settings.max_body_bytes))


async def _entries(parts: Parts) -> list[Entry]:
    return await anyio.to_thread.run_sync(parts.models.index)


async def _entries_of(parts: Parts, model: str) -> Response:
    return _json(repository.index(entry for entry in await _entries(parts) if entry.name == model))


def _json(entries: list[dict[str, str]]) -> Response:
    return Response(orjson.dumps(entries), media_type=JSON)
