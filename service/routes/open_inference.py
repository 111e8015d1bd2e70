"""The Open Inference Protocol: metadata, readiness, inference; of a model's default version, and of one that is named.

`service.open_inference` says what is in the bodies.
"""

from collections.abc import Awaitable, Callable
from importlib.metadata import version as version_of
from typing import Any

import anyio
import anyio.to_thread
import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.edge import DirectRoute
from service.errors import ModelUnavailable
from service.exchange import Answer, Exchange, exchange_of
from service.open_inference import framing, metadata, statistics
from service.open_inference.inference import infer
from service.open_inference.replies import write_reply
from service.open_inference.requests import read_request
from service.open_inference.schemas import (
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    ModelReady,
    ModelStatistics,
    ServerMetadata,
)
from service.openapi import Responses, protocol_error_responses, reply_content, request_body
from service.parts import Parts, parts_of
from service.routes.versions import ModelName, Version, find
from service.wire import JSON, OCTET_STREAM, read_body

MODEL = "/v2/models/{model}"
VERSION = "/v2/models/{model}/versions/{version}"

_READ_SECONDS_PER_BYTE = 2e-8
_WRITE_SECONDS_PER_VALUE = 2e-8
_LENGTH = framing.HEADER.lower().encode()
_UNREAD = {"type": "string", "format": "binary"}


async def describe_server(request: Request) -> Response:
    """The server's name and version, and the extensions of the protocol that it has."""
    has_repository = parts_of(request).settings.has_administrators
    return _json(metadata.server_metadata(version_of("latent-codes"), has_repository=has_repository))


async def describe_model(request: Request, model: ModelName) -> Response:
    """Names, datatypes and shapes of the tensors of the default version."""
    return _described(request, model)


async def describe_model_version(request: Request, model: ModelName, version: Version) -> Response:
    """The same for one version."""
    return _described(request, model, version)


async def is_model_ready(request: Request, model: ModelName) -> Response:
    """200 when a version is served by default; 503 when all that there are were refused."""
    return _readiness(request, model)


async def is_model_version_ready(request: Request, model: ModelName, version: Version) -> Response:
    """The same for one version."""
    return _readiness(request, model, version)


async def get_statistics(request: Request) -> Response:
    """What was done for every version that is served, since the service started, in all workers."""
    catalog = parts_of(request).catalog
    keys = [(name, version) for name in catalog.names() for version in catalog.versions(name)]
    return await _statistics(request, keys)


async def get_model_statistics(request: Request, model: ModelName) -> Response:
    """The same for the versions of one model."""
    catalog = parts_of(request).catalog
    find(catalog, model)
    return await _statistics(request, [(model, version) for version in catalog.versions(model)])


async def get_model_version_statistics(request: Request, model: ModelName, version: Version) -> Response:
    """The same for one version."""
    manifest = find(parts_of(request).catalog, model, version).manifest
    return await _statistics(request, [(manifest.name, manifest.version)])


async def infer_with_model(request: Request, model: ModelName) -> Response:
    """Encode, reconstruct, decode or generate: what is done follows from the input tensor and the outputs asked for.

    `inputs` encodes, and reconstructs where `outputs` or `mean_squared_error` is asked for; `codes` and `relaxed`
    decode; no input draws codes from the prior. Without `outputs` all that there are come back, as the protocol has it.
    """
    return (await _infer(parts_of(request), exchange_of(request.scope), model)).to_response()


async def infer_with_model_version(request: Request, model: ModelName, version: Version) -> Response:
    """The same for one version."""
    return (await _infer(parts_of(request), exchange_of(request.scope), model, version)).to_response()


class DirectRoutes:
    """Finds out by splitting a path whether it means inference, for the edge."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __call__(self, path: str) -> DirectRoute | None:
        """None where the path is of another form; whether there is such a model is told when the route is called."""
        match path.split("/"):
            case ["", "v2", "models", model, "infer"]:
                version = None
            case ["", "v2", "models", model, "versions", version, "infer"]:
                pass
            case _:
                return None
        if not model or version == "":
            return None
        return lambda exchange: _infer(self._parts, exchange, model, version)


def router() -> APIRouter:
    """Everything but health, which `health` has, and the extensions with paths of their own."""
    routes = APIRouter(tags=["open inference protocol"])
    about_server = reply_content(ServerMetadata) | protocol_error_responses(500)
    _add(routes, "/v2", describe_server, "Server metadata", about_server)
    routes.add_api_route("/v2/", describe_server, include_in_schema=False, response_model=None)
    about_statistics = reply_content(ModelStatistics)
    # Before the path of a model, which `stats` would be the name of.
    _add(routes, "/v2/models/stats", get_statistics, "Statistics", about_statistics | protocol_error_responses(500))
    about_statistics |= protocol_error_responses(404, 500, 503)
    _add(routes, f"{MODEL}/stats", get_model_statistics, "Statistics of a model", about_statistics)
    _add(routes, f"{VERSION}/stats", get_model_version_statistics, "Statistics of one version", about_statistics)
    about_model = reply_content(ModelMetadata) | protocol_error_responses(404, 500, 503)
    _add(routes, MODEL, describe_model, "Model metadata", about_model)
    _add(routes, VERSION, describe_model_version, "Metadata of one version", about_model)
    about_readiness = (
        reply_content(ModelReady)
        | reply_content(ModelReady, status=503, description="Not ready")
        | protocol_error_responses(404, 500)
    )
    _add(routes, f"{MODEL}/ready", is_model_ready, "Is the model ready?", about_readiness)
    _add(routes, f"{VERSION}/ready", is_model_version_ready, "Is this version ready?", about_readiness)
    for path, answer, summary in (
        (f"{MODEL}/infer", infer_with_model, "Infer"),
        (f"{VERSION}/infer", infer_with_model_version, "Infer with one version"),
    ):
        routes.add_api_route(
            path,
            answer,
            methods=["POST"],
            operation_id=answer.__name__,
            summary=summary,
            response_model=None,
            openapi_extra=_inference_body(),
            responses=_inference_response() | protocol_error_responses(400, 404, 413, 415, 500, 503, 504),
        )
    return routes


def _add(
    routes: APIRouter, path: str, answer: Callable[..., Awaitable[Response]], summary: str, responses: Responses
) -> None:
    routes.add_api_route(
        path, answer, operation_id=answer.__name__, summary=summary, response_model=None, responses=responses
    )


def _inference_body() -> dict[str, Any]:
    body = request_body(InferenceRequest, "infer")
    body["requestBody"]["content"][OCTET_STREAM] = {"schema": _UNREAD}
    body["parameters"] = [
        {
            "name": framing.HEADER,
            "in": "header",
            "required": False,
            "description": "Length of the JSON, where bytes of tensors follow it. The Content-Type is not looked at.",
            "schema": {"type": "integer", "minimum": 0},
        }
    ]
    return body


def _inference_response() -> Responses:
    responses = reply_content(InferenceResponse)
    responses[200]["content"][OCTET_STREAM] = {"schema": _UNREAD}
    responses[200]["headers"] = {
        framing.HEADER: {
            "description": "Length of the JSON, where bytes of tensors follow it.",
            "schema": {"type": "integer", "minimum": 0},
        }
    }
    return responses


def _described(request: Request, model: str, version: str | None = None) -> Response:
    catalog = parts_of(request).catalog
    manifest = find(catalog, model, version).manifest
    return _json(metadata.model_metadata(manifest, catalog.versions(manifest.name)))


async def _statistics(request: Request, keys: list[tuple[str, int]]) -> Response:
    totals = await anyio.to_thread.run_sync(parts_of(request).statistics.totals)
    stats = [statistics.model_stat(name, version, totals.get((name, version))) for name, version in keys]
    return _json({"model_stats": stats})


def _readiness(request: Request, model: str, version: str | None = None) -> Response:
    try:
        find(parts_of(request).catalog, model, version)
    except ModelUnavailable:
        return _json({"name": model, "ready": False}, 503)
    return _json({"name": model, "ready": True})


async def _infer(parts: Parts, exchange: Exchange, model: str, version: str | None = None) -> Answer:
    """Raises ServiceError."""
    engine = find(parts.catalog, model, version)
    body = await read_body(exchange, parts.settings.max_body_bytes)
    lengths = [value.decode("latin-1") for name, value in exchange.scope["headers"] if name == _LENGTH]
    asked = await parts.dispatcher.run(
        lambda: read_request(body, lengths, engine.manifest, max_rows=parts.settings.max_rows),
        len(body) * _READ_SECONDS_PER_BYTE,
        exchange.deadline,
    )
    found = await infer(parts.dispatcher, engine, asked, exchange.deadline)
    exchange.num_rows = len(next(iter(found.arrays.values()), ()))
    num_values = sum(found.arrays[output.name].size for output in asked.outputs if not output.binary)
    reply = await parts.dispatcher.run(
        lambda: write_reply(asked, engine.manifest, found.arrays, seed=found.seed),
        num_values * _WRITE_SECONDS_PER_VALUE,
        exchange.deadline,
    )
    if reply.json_length is None:
        return Answer(reply.content, JSON)
    return Answer(reply.content, OCTET_STREAM, headers=((framing.HEADER, str(reply.json_length)),))


def _json(reply: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(reply), status, media_type=JSON)
