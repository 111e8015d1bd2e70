"""encode, decode, reconstruct, generate: each for the newest version of a model and for one that the path names."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from service import operations, wire
from service.edge import DirectRoute
from service.engine import ENCODE_OUTPUTS, Engine
from service.errors import ReplyTypeRefused, invalid, shown
from service.exchange import Answer, Exchange, exchange_of
from service.given import OF_WHAT_WAS_GIVEN, TO_DECODE, TO_ENCODE, Rows, limit_rows, read_given
from service.openapi import problem_responses, reply_content, request_body
from service.operations import Arrays
from service.parts import Parts, parts_of
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

_JSON_SECONDS_PER_BYTE, _ARRAY_SECONDS_PER_BYTE = 3.5e-9, 1e-9
"""Of reading a body and checking what is in it; measured, and on the high side."""

_WRITE_SECONDS_PER_VALUE = {wire.JSON: 2e-8, wire.NPY: 1e-9, wire.PNG: 1e-7}


class Job(NamedTuple):
    """A request that was read and checked."""

    arrays: Sequence[str]
    """The fields of the reply that a reply of a single array may hold."""
    code_format: CodeFormat
    operation: operations.Operation
    fields: Callable[[Arrays], dict[str, Any]]
    """What the operation finds to the fields of a reply."""


class Later(NamedTuple):
    """A request that was read, and takes a while to be made a job: its images have to be decoded."""

    seconds: float
    job: Callable[[], Job]


class Operation(NamedTuple):
    """One verb of the interface."""

    name: str
    summary: str
    request: type[BaseModel]
    response: type[BaseModel]
    read: Callable[[Any, Engine, Settings], Job | Later]
    readable: tuple[str, ...]
    """The types of body that carry what it takes: rows, images, nothing."""
    writable: tuple[str, ...]
    """The types of reply: a picture only of what is decoded."""


def _read_encode(document: Any, engine: Engine, settings: Settings) -> Job | Later:
    request, given = wire.parse_request(document, EncodeRequest, TO_ENCODE)
    return _with_rows(given, request, partial(_job_of_rows, request, engine, decodes=False), engine, settings)


def _read_reconstruct(document: Any, engine: Engine, settings: Settings) -> Job | Later:
    request, given = wire.parse_request(document, ReconstructRequest, TO_ENCODE)
    return _with_rows(given, request, partial(_job_of_rows, request, engine, decodes=True), engine, settings)


def _with_rows(
    given: Mapping[str, Any],
    request: EncodeRequest,
    to_job: Callable[[Rows], Job],
    engine: Engine,
    settings: Settings,
) -> Job | Later:
    found = read_given(given, request, engine, settings)
    if isinstance(found, Rows):
        return to_job(found)
    return Later(found.seconds_to_read, lambda: to_job(found.rows(engine.manifest, settings)))


def _job_of_rows(request: EncodeRequest, engine: Engine, rows: Rows, *, decodes: bool) -> Job:
    encode, wanted = _to_encode(request, engine, rows)

    def fields(found: Arrays) -> dict[str, Any]:
        encoding = _encoding(encode.sampling.seed, found if wanted else {}, request.code_format, engine)
        decoded = {name: found[name] for name in ("outputs", "mean_squared_error")} if decodes else {}
        return encoding | decoded | rows.fields(request.outputs, engine.manifest)

    if decodes:
        return Job(("outputs",), request.code_format, operations.Reconstruct(encode), fields)
    return Job(request.outputs, request.code_format, encode, fields)


def _to_encode(request: EncodeRequest, engine: Engine, rows: Rows) -> tuple[operations.Encode, bool]:
    """The operation, and whether anything of what it finds is asked for: codes are made in any case."""
    outputs = [name for name in request.outputs if name not in OF_WHAT_WAS_GIVEN]
    operation = engine.to_encode(
        rows.inputs,
        temperature=request.temperature,
        relaxation_temperature=request.relaxation_temperature,
        seed=request.seed,
        num_samples=request.num_samples,
        first_row=request.first_row,
        outputs=outputs or ["codes"],
    )
    return operation, bool(outputs)


def _read_decode(document: Any, engine: Engine, settings: Settings) -> Job:
    request, given = wire.parse_request(document, DecodeRequest, TO_DECODE)
    if len(given) != 1:
        raise invalid("codes", "exactly one of codes and relaxed", "both" if given else "neither")
    ((name, rows),) = given.items()
    if name == "relaxed" and "code_format" in request.model_fields_set:
        raise invalid("code_format", "none with relaxed", shown(request.code_format))
    limit_rows(name, rows, 1, settings)
    if name == "codes":
        operation = engine.to_decode(wire.parse_codes(rows, request.code_format, engine.manifest))
    else:
        operation = engine.to_decode_relaxed(wire.parse_numbers(rows, name, engine.manifest.latent_shape))
    return Job(("outputs",), request.code_format, operation, dict)


def _read_generate(document: Any, engine: Engine, settings: Settings) -> Job:
    request, _ = wire.parse_request(document, GenerateRequest)
    if request.num_samples > settings.max_rows:
        raise invalid("num_samples", f"at most {settings.max_rows}", shown(request.num_samples))
    operation = engine.to_generate(
        request.num_samples,
        temperature=request.temperature,
        relaxation_temperature=request.relaxation_temperature,
        seed=request.seed,
        first_row=request.first_row,
        outputs=request.outputs,
    )

    def fields(found: Arrays) -> dict[str, Any]:
        encoding = _encoding(operation.sampling.seed, found, request.code_format, engine)
        return encoding | {"outputs": found["outputs"]}

    return Job(("outputs",), request.code_format, operation, fields)


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


def _encoding(seed: int | None, found: Arrays, code_format: CodeFormat, engine: Engine) -> dict[str, Any]:
    """What of an encoding was found, with the codes in the format asked for."""
    reply: dict[str, Any] = {"seed": seed}
    for name in ENCODE_OUTPUTS:
        if name in found:
            reply[name] = found[name]
    if "codes" in reply:
        reply["codes"] = wire.format_codes(reply["codes"], code_format, engine.manifest)
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
    seconds_per_byte = _JSON_SECONDS_PER_BYTE if read is wire.READERS[wire.JSON] else _ARRAY_SECONDS_PER_BYTE
    job = await dispatcher.run(
        lambda: operation.read(read(body), engine, settings), len(content) * seconds_per_byte, exchange.deadline
    )
    if isinstance(job, Later):
        job = await dispatcher.run(job.job, job.seconds, exchange.deadline)
    if media_type != wire.JSON:
        _require_one_array(job, media_type)
    found = await dispatcher.answer(engine, job.operation, exchange.deadline)
    fields: dict[str, Any] = {"model": engine.manifest.name, "version": engine.manifest.version} | job.fields(found)
    exchange.num_rows = len(fields[job.arrays[0]])
    reply = wire.Reply(engine.manifest, fields, job.arrays[0])
    if media_type == wire.PNG:
        _require_picture(np.asarray(fields["outputs"]), settings.max_image_pixels)
    num_values = sum([value.size for value in fields.values() if isinstance(value, np.ndarray)])
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
