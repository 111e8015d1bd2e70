"""encode, decode, reconstruct, generate: each for the newest version of a model and for one that the path names."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from service import wire
from service.dispatch import Dispatcher
from service.edge import DirectRoute
from service.engine import Engine
from service.errors import ReplyTypeRefused, invalid, shown
from service.exchange import Answer, Exchange, exchange_of
from service.given import OF_WHAT_WAS_GIVEN, limit_rows, read_given
from service.openapi import problem_responses, reply_content, request_body
from service.parts import Parts, parts_of
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

_READ_JSON_SECONDS_PER_BYTE = 2.5e-9
"""Arrays included; measured, and on the high side. Bodies of other types are read where they lie."""

_WRITE_SECONDS_PER_VALUE = {wire.JSON: 2e-8, wire.NPY: 1e-9, wire.PNG: 1e-7}


class Job(NamedTuple):
    """A request that was read."""

    arrays: Sequence[str]
    """The fields of the reply that a reply of a single array may hold."""
    code_format: CodeFormat
    reply: Callable[[Dispatcher, float | None], Awaitable[dict[str, Any]]]
    """Asks the dispatcher, with a deadline, and makes the fields of a reply of what comes."""


class Operation(NamedTuple):
    """One verb of the interface."""

    name: str
    summary: str
    request: type[BaseModel]
    response: type[BaseModel]
    read: Callable[[Any, Engine, Settings], Job]
    readable: tuple[str, ...]
    """The types of body that carry what it takes: rows, images, nothing."""
    writable: tuple[str, ...]
    """The types of reply: a picture only of what is decoded."""


def _read_encode(document: Any, engine: Engine, settings: Settings) -> Job:
    request = wire.parse_request(document, EncodeRequest)
    given = read_given(request, engine, settings)
    outputs = [name for name in request.outputs if name not in OF_WHAT_WAS_GIVEN]

    async def reply(dispatcher: Dispatcher, deadline: float | None) -> dict[str, Any]:
        rows = await given.rows(dispatcher, deadline)
        encoding = await dispatcher.encode(
            engine,
            rows.inputs,
            temperature=request.temperature,
            relaxation_temperature=request.relaxation_temperature,
            seed=request.seed,
            num_samples=request.num_samples,
            first_row=request.first_row,
            outputs=outputs or ["codes"],
            deadline=deadline,
        )
        if not outputs:
            encoding = Encoding(encoding.seed)
        return _encoding(encoding, request.code_format, engine) | rows.fields(request.outputs)

    return Job(request.outputs, request.code_format, reply)


def _read_reconstruct(document: Any, engine: Engine, settings: Settings) -> Job:
    request = wire.parse_request(document, ReconstructRequest)
    given = read_given(request, engine, settings)
    outputs = [name for name in request.outputs if name not in OF_WHAT_WAS_GIVEN]

    async def reply(dispatcher: Dispatcher, deadline: float | None) -> dict[str, Any]:
        rows = await given.rows(dispatcher, deadline)
        found = await dispatcher.reconstruct(
            engine,
            rows.inputs,
            temperature=request.temperature,
            relaxation_temperature=request.relaxation_temperature,
            seed=request.seed,
            num_samples=request.num_samples,
            first_row=request.first_row,
            outputs=outputs or ["codes"],
            deadline=deadline,
        )
        encoding = found.encoding if outputs else Encoding(found.encoding.seed)
        decoded = {"outputs": found.outputs, "mean_squared_error": found.mean_squared_error}
        return _encoding(encoding, request.code_format, engine) | decoded | rows.fields(request.outputs)

    return Job(("outputs",), request.code_format, reply)


def _read_decode(document: Any, engine: Engine, settings: Settings) -> Job:
    request = wire.parse_request(document, DecodeRequest)
    given = request.model_fields_set & {"codes", "relaxed"}
    if len(given) != 1:
        raise invalid("codes", "exactly one of codes and relaxed", "both" if given else "neither")
    if "codes" in given:
        limit_rows("codes", request.codes, 1, settings)
        codes = wire.parse_codes(request.codes, request.code_format, engine.manifest)

        async def reply(dispatcher: Dispatcher, deadline: float | None) -> dict[str, Any]:
            return {"outputs": await dispatcher.decode(engine, codes, deadline=deadline)}

        return Job(("outputs",), request.code_format, reply)
    if "code_format" in request.model_fields_set:
        raise invalid("code_format", "none with relaxed", shown(request.code_format))
    limit_rows("relaxed", request.relaxed, 1, settings)
    relaxed = wire.parse_numbers(request.relaxed, "relaxed", engine.manifest.latent_shape)

    async def reply_to_relaxed(dispatcher: Dispatcher, deadline: float | None) -> dict[str, Any]:
        return {"outputs": await dispatcher.decode_relaxed(engine, relaxed, deadline=deadline)}

    return Job(("outputs",), request.code_format, reply_to_relaxed)


def _read_generate(document: Any, engine: Engine, settings: Settings) -> Job:
    request = wire.parse_request(document, GenerateRequest)
    if request.num_samples > settings.max_rows:
        raise invalid("num_samples", f"at most {settings.max_rows}", shown(request.num_samples))

    async def reply(dispatcher: Dispatcher, deadline: float | None) -> dict[str, Any]:
        found = await dispatcher.generate(
            engine,
            request.num_samples,
            temperature=request.temperature,
            relaxation_temperature=request.relaxation_temperature,
            seed=request.seed,
            first_row=request.first_row,
            outputs=request.outputs,
            deadline=deadline,
        )
        encoding = Encoding(found.seed, codes=found.codes, relaxed=found.relaxed)
        return _encoding(encoding, request.code_format, engine) | {"outputs": found.outputs}

    return Job(("outputs",), request.code_format, reply)


_NO_PICTURE = tuple(media_type for media_type in wire.WRITABLE if media_type != wire.PNG)

OPERATIONS = (
    Operation(
        "encode",
        "Inputs to codes",
        EncodeRequest,
        EncodeReply,
        _read_encode,
        wire.READABLE,
        _NO_PICTURE,
    ),
    Operation(
        "decode",
        "Codes, or relaxed codes, to outputs",
        DecodeRequest,
        DecodeReply,
        _read_decode,
        tuple(media_type for media_type in wire.READABLE if not media_type.startswith("image/")),
        wire.WRITABLE,
    ),
    Operation(
        "reconstruct",
        "Inputs to codes to outputs, with the error of each",
        ReconstructRequest,
        ReconstructReply,
        _read_reconstruct,
        wire.READABLE,
        wire.WRITABLE,
    ),
    Operation(
        "generate",
        "Draw codes from the prior and decode them",
        GenerateRequest,
        GenerateReply,
        _read_generate,
        (wire.JSON,),
        wire.WRITABLE,
    ),
)


def _require_one_array(job: Job, media_type: str) -> None:
    if len(job.arrays) != 1 or "conversions" in job.arrays:
        raise invalid("outputs", f"exactly one for a reply of {media_type}", shown(list(job.arrays)))
    if job.arrays[0] == "codes" and job.code_format != "indices":
        raise invalid("code_format", f"indices for a reply of {media_type}", shown(job.code_format))


def _encoding(encoding: Encoding, code_format: CodeFormat, engine: Engine) -> dict[str, Any]:
    """What was asked for, with the codes in the format asked for."""
    reply: dict[str, Any] = {"seed": encoding.seed}
    if encoding.codes is not None:
        reply["codes"] = wire.format_codes(encoding.codes, code_format, engine.manifest)
    for name in ("relaxed", "probabilities", "logits", "margins", "near_ties"):
        if (array := getattr(encoding, name)) is not None:
            reply[name] = array
    return reply


def _require_picture(outputs: NDArray[Any], max_pixels: int) -> None:
    if outputs.size > max_pixels:
        raise invalid("outputs", f"at most {max_pixels} values in a picture", f"{outputs.size}; ask for fewer")


async def _answer(
    parts: Parts, operation: Operation, exchange: Exchange, model: str, version: str | None = None
) -> Answer:
    """Raises ServiceError."""
    settings, dispatcher = parts.settings, parts.dispatcher
    engine = find(parts.catalog, model, version)
    read = wire.reader_of(exchange.header(b"content-type"), operation.readable)
    media_type, write = wire.writer_for(exchange.header(b"accept"), operation.writable)
    if media_type == wire.PNG and engine.manifest.input.image is None:
        raise ReplyTypeRefused(f"Accept: expected another type than {wire.PNG}: {model} makes numbers, not pictures")
    content = await wire.read_body(exchange, settings.max_body_bytes)
    body = wire.Body(content, exchange.scope["query_string"], operation.name, engine.manifest)
    seconds_to_read = len(content) * _READ_JSON_SECONDS_PER_BYTE if read is wire.READERS[wire.JSON] else 0.0
    job = await dispatcher.run(lambda: operation.read(read(body), engine, settings), seconds_to_read, exchange.deadline)
    if media_type != wire.JSON:
        _require_one_array(job, media_type)
    named = {"model": engine.manifest.name, "version": engine.manifest.version}
    fields: dict[str, Any] = named | await job.reply(dispatcher, exchange.deadline)
    exchange.num_rows = len(fields[job.arrays[0]])
    reply = wire.Reply(engine.manifest, fields, job.arrays[0])
    if media_type == wire.PNG:
        _require_picture(np.asarray(fields["outputs"]), settings.max_image_pixels)
    num_values = sum(value.size for value in fields.values() if isinstance(value, np.ndarray))
    written = await dispatcher.run(
        lambda: write(reply), num_values * _WRITE_SECONDS_PER_VALUE[media_type], exchange.deadline
    )
    return Answer(written, media_type, headers=() if media_type == wire.JSON else wire.headers_of(reply))


class DirectRoutes:
    """Finds the operation that a path means by splitting it, for the edge."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._operations = {operation.name: operation for operation in OPERATIONS}

    def __call__(self, path: str) -> DirectRoute | None:
        """None where the path is of another form; whether there is such a model is told when the route is called."""
        match path.split("/"):
            case ["", "v1", "models", model, verb]:
                version = None
            case ["", "v1", "models", model, "versions", version, verb]:
                pass
            case _:
                return None
        operation = self._operations.get(verb)
        if operation is None or not model or version == "":
            return None
        return lambda exchange: _answer(self._parts, operation, exchange, model, version)


def _newest(operation: Operation) -> Callable[..., Awaitable[Response]]:
    async def answer(request: Request, model: ModelName) -> Response:
        return (await _answer(parts_of(request), operation, exchange_of(request.scope), model)).to_response()

    return answer


def _one_version(operation: Operation) -> Callable[..., Awaitable[Response]]:
    async def answer(request: Request, model: ModelName, version: Version) -> Response:
        return (await _answer(parts_of(request), operation, exchange_of(request.scope), model, version)).to_response()

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
            openapi_extra=request_body(operation.request, operation.name, operation.readable),
            responses=reply_content(operation.response, writable=operation.writable)
            | problem_responses(400, 404, 406, 413, 415, 422, 500, 503, 504),
        )
        add(f"{MODEL}/{operation.name}", _newest(operation), operation_id=operation.name)
        add(f"{VERSION}/{operation.name}", _one_version(operation), operation_id=f"{operation.name}_with_version")
    return routes
