"""encode, decode, reconstruct, generate: each for the newest version of a model and for one that the path names."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from service import wire
from service.engine import Engine
from service.errors import invalid, shown
from service.openapi import problem_responses, reply_content, request_body
from service.parts import parts_of
from service.results import Encoding
from service.routes.versions import MODEL, VERSION, ModelName, Version, find
from service.schemas import (
    CodeFormat,
    DecodeReply,
    DecodeRequest,
    EncodeReply,
    EncodeRequest,
    GenerateReply,
    GenerateRequest,
    ReconstructReply,
    ReconstructRequest,
)
from service.settings import Settings

_PARSE_SECONDS_PER_BYTE = 2e-8
"""Of JSON, arrays included; measured, and on the high side."""


class Job(NamedTuple):
    """A request that was read: what to do, and how long that is likely to take."""

    estimated_seconds: float
    reply: Callable[[], dict[str, Any]]


class Operation(NamedTuple):
    """One verb of the interface."""

    name: str
    summary: str
    request: type[BaseModel]
    response: type[BaseModel]
    read: Callable[[Any, Engine, Settings], Job]


def _read_encode(document: Any, engine: Engine, settings: Settings) -> Job:
    request = wire.parse_request(document, EncodeRequest)
    inputs, num_rows = _inputs(request, engine, settings)

    def reply() -> dict[str, Any]:
        encoding = engine.encode(
            inputs,
            temperature=request.temperature,
            relaxation_temperature=request.relaxation_temperature,
            seed=request.seed,
            num_samples=request.num_samples,
            first_row=request.first_row,
            outputs=request.outputs,
        )
        return _encoding(encoding, request.code_format, engine)

    return Job(num_rows * engine.seconds_per_row, reply)


def _read_reconstruct(document: Any, engine: Engine, settings: Settings) -> Job:
    request = wire.parse_request(document, ReconstructRequest)
    inputs, num_rows = _inputs(request, engine, settings)

    def reply() -> dict[str, Any]:
        found = engine.reconstruct(
            inputs,
            temperature=request.temperature,
            relaxation_temperature=request.relaxation_temperature,
            seed=request.seed,
            num_samples=request.num_samples,
            first_row=request.first_row,
            outputs=request.outputs,
        )
        encoding = _encoding(found.encoding, request.code_format, engine)
        return encoding | {"outputs": found.outputs, "mean_squared_error": found.mean_squared_error}

    return Job(num_rows * engine.seconds_per_row, reply)


def _read_decode(document: Any, engine: Engine, settings: Settings) -> Job:
    request = wire.parse_request(document, DecodeRequest)
    given = request.model_fields_set & {"codes", "relaxed"}
    if len(given) != 1:
        raise invalid("codes", "exactly one of codes and relaxed", "both" if given else "neither")
    if "codes" in given:
        _limit_rows("codes", request.codes, 1, settings)
        codes = wire.parse_codes(request.codes, request.code_format, engine.manifest)
        return Job(len(codes) * engine.seconds_per_row, lambda: {"outputs": engine.decode(codes)})
    if "code_format" in request.model_fields_set:
        raise invalid("code_format", "none with relaxed", shown(request.code_format))
    _limit_rows("relaxed", request.relaxed, 1, settings)
    relaxed = wire.parse_numbers(request.relaxed, "relaxed", engine.manifest.latent_shape)
    return Job(len(relaxed) * engine.seconds_per_row, lambda: {"outputs": engine.decode_relaxed(relaxed)})


def _read_generate(document: Any, engine: Engine, settings: Settings) -> Job:
    request = wire.parse_request(document, GenerateRequest)
    if request.num_samples > settings.max_rows:
        raise invalid("num_samples", f"at most {settings.max_rows}", shown(request.num_samples))

    def reply() -> dict[str, Any]:
        found = engine.generate(
            request.num_samples,
            temperature=request.temperature,
            relaxation_temperature=request.relaxation_temperature,
            seed=request.seed,
            first_row=request.first_row,
            outputs=request.outputs,
        )
        encoding = Encoding(found.seed, codes=found.codes, relaxed=found.relaxed)
        return _encoding(encoding, request.code_format, engine) | {"outputs": found.outputs}

    return Job(engine.seconds_to_generate(request.num_samples), reply)


OPERATIONS = (
    Operation("encode", "Inputs to codes", EncodeRequest, EncodeReply, _read_encode),
    Operation("decode", "Codes, or relaxed codes, to outputs", DecodeRequest, DecodeReply, _read_decode),
    Operation(
        "reconstruct",
        "Inputs to codes to outputs, with the error of each",
        ReconstructRequest,
        ReconstructReply,
        _read_reconstruct,
    ),
    Operation("generate", "Draw codes from the prior and decode them", GenerateRequest, GenerateReply, _read_generate),
)


def _inputs(request: EncodeRequest, engine: Engine, settings: Settings) -> tuple[Any, int]:
    """The inputs as an array, and rows times samples."""
    num_rows = _limit_rows("inputs", request.inputs, request.num_samples, settings)
    return wire.parse_numbers(request.inputs, "inputs", engine.manifest.input.shape), num_rows


def _limit_rows(field: str, rows: Any, num_samples: int, settings: Settings) -> int:
    """Before anything of that size is made; what is no list is refused where it is parsed."""
    num_rows = len(rows) * num_samples if isinstance(rows, list) else 0
    if num_rows > settings.max_rows:
        expected = f"at most {settings.max_rows} rows times samples in a request"
        raise invalid(field, expected, f"{shown(num_rows)}; split the request")
    return num_rows


def _encoding(encoding: Encoding, code_format: CodeFormat, engine: Engine) -> dict[str, Any]:
    """What was asked for, with the codes in the format asked for."""
    reply: dict[str, Any] = {"seed": encoding.seed}
    if encoding.codes is not None:
        reply["codes"] = wire.format_codes(encoding.codes, code_format, engine.manifest)
    for name in ("relaxed", "probabilities", "logits", "margins"):
        if (array := getattr(encoding, name)) is not None:
            reply[name] = array
    return reply


async def _answer(operation: Operation, request: Request, model: str, version: str | None) -> Response:
    parts = parts_of(request)
    engine = find(parts.catalog, model, version)
    body = await wire.read_body(request, parts.settings.max_body_bytes)
    job = await parts.worker.run(
        lambda: operation.read(wire.parse_json(body), engine, parts.settings),
        estimated_seconds=len(body) * _PARSE_SECONDS_PER_BYTE,
    )
    name = {"model": engine.manifest.name, "version": engine.manifest.version}
    content = await parts.worker.run(lambda: wire.to_json(name | job.reply()), estimated_seconds=job.estimated_seconds)
    return Response(content, media_type=wire.JSON)


def _newest(operation: Operation) -> Callable[..., Awaitable[Response]]:
    async def answer(request: Request, model: ModelName) -> Response:
        return await _answer(operation, request, model, None)

    return answer


def _one_version(operation: Operation) -> Callable[..., Awaitable[Response]]:
    async def answer(request: Request, model: ModelName, version: Version) -> Response:
        return await _answer(operation, request, model, version)

    return answer


def router() -> APIRouter:
    """The operations, twice."""
    routes = APIRouter(tags=["codes"])
    for operation in OPERATIONS:
        add = partial(
            routes.add_api_route,
            methods=["POST"],
            summary=operation.summary,
            description=operation.request.__doc__,
            response_model=None,
            openapi_extra=request_body(operation.request, operation.name),
            responses=reply_content(operation.response) | problem_responses(400, 404, 413, 415, 422, 500, 503),
        )
        add(f"{MODEL}/{operation.name}", _newest(operation), operation_id=operation.name)
        add(f"{VERSION}/{operation.name}", _one_version(operation), operation_id=f"{operation.name}_with_version")
    return routes
