"""The OpenAPI document: every body, reply and error, with examples that run as they stand.

Handlers read their bodies and write their replies themselves, so FastAPI cannot infer what is in them. Routes say it
with the functions here, and `describe` puts the schemas and the examples into the document. The examples are made of
the golden vectors of a model that is really served.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from models import codes
from service import schemas
from service.admission import API_KEY, TIMEOUT, Admission, Need
from service.catalog import Catalog
from service.engine import Engine
from service.live_models import LiveModels
from service.open_inference import schemas as open_inference
from service.problems import PROBLEM_JSON, speaks_open_inference
from service.wire import JSON

_COMPONENTS = "#/components/schemas/{model}"
_EXAMPLE_DECIMALS = 4
_OPERATION = "x-operation"
_ARRAYS = frozenset({"inputs", "images", "codes", "relaxed"})

_REQUESTS = (
    schemas.EncodeRequest,
    schemas.DecodeRequest,
    schemas.ReconstructRequest,
    schemas.GenerateRequest,
    open_inference.InferenceRequest,
    open_inference.RepositoryIndexRequest,
    open_inference.RepositoryLoadRequest,
    open_inference.RepositoryUnloadRequest,
)
_REPLIES = (
    schemas.EncodeReply,
    schemas.DecodeReply,
    schemas.ReconstructReply,
    schemas.GenerateReply,
    schemas.ModelList,
    schemas.ModelReply,
    schemas.ExamplesReply,
    schemas.Live,
    schemas.Ready,
    schemas.UsageReply,
    schemas.Problem,
    open_inference.InferenceResponse,
    open_inference.ModelMetadata,
    open_inference.ModelReady,
    open_inference.ServerMetadata,
    open_inference.RepositoryIndex,
    open_inference.ModelStatistics,
    open_inference.ProtocolError,
)

_SECURITY_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key, as Authorization: Bearer KEY."},
    "api_key": {"type": "apiKey", "in": "header", "name": API_KEY, "description": f"A key, as {API_KEY}: KEY."},
}
_CHALLENGE = {"required": True, "schema": {"type": "string"}, "description": "How a key can be sent."}

Responses = dict[int | str, dict[str, Any]]


def request_body(model: type[BaseModel], operation: str, readable: Iterable[str] = (JSON,)) -> dict[str, Any]:
    """For `openapi_extra`: a body of this model, with the example of that operation, or of another readable type.

    What such a type has no room for, the parameters, is in the query.
    """
    content = {media_type: {"schema": _schema(model, media_type)} for media_type in readable}
    return {
        "requestBody": {"required": True, "content": content},
        "parameters": [_query_parameter(model, name) for name in model.model_fields if name not in _ARRAYS],
        _OPERATION: operation,
    }


def _query_parameter(model: type[BaseModel], name: str) -> dict[str, Any]:
    schema = {"$ref": f"{_COMPONENTS.format(model=model.__name__)}/properties/{name}"}
    return {"name": name, "in": "query", "required": False, "schema": schema, "style": "form", "explode": False}


def reply_content(
    model: type[BaseModel], *, status: int = 200, description: str = "", writable: Iterable[str] = (JSON,)
) -> Responses:
    """For `responses`: a reply of this model, or an array of it as another writable type."""
    text = description or (model.__doc__ or "").splitlines()[0]
    content = {media_type: {"schema": _schema(model, media_type)} for media_type in writable}
    return {status: {"description": text, "content": content}}


def problem_responses(*statuses: int) -> Responses:
    """For `responses`: problem details with these statuses."""
    content = {PROBLEM_JSON: {"schema": _reference(schemas.Problem)}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def protocol_error_responses(*statuses: int) -> Responses:
    """For `responses`: errors of the Open Inference Protocol with these statuses."""
    content = {JSON: {"schema": _reference(open_inference.ProtocolError)}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def describe(app: FastAPI, live_models: LiveModels, admission: Admission) -> None:
    """Have `app` serve the complete document: made when it is first asked for, and anew once other models are served.

    So examples are always of a model that is served. Keys, and the replies of those who lack one, are in it where
    `admission` asks for them, and nowhere else.
    """
    described: Catalog | None = None

    def openapi() -> dict[str, Any]:
        nonlocal described
        catalog = live_models.catalog
        if app.openapi_schema is None or catalog is not described:
            app.openapi_schema = _document(app, catalog, admission)
            described = catalog
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI's documentation names


def _schema(model: type[BaseModel], media_type: str) -> dict[str, Any]:
    return _reference(model) if media_type == JSON else {"type": "string", "contentMediaType": media_type}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _COMPONENTS.format(model=model.__name__)}


_TIMEOUT_PARAMETER = {
    "name": TIMEOUT,
    "in": "header",
    "required": False,
    "description": "After so many milliseconds an answer is of no use: what was not begun by then is not done.",
    "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
}


def _document(app: FastAPI, catalog: Catalog, admission: Admission) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=app.description, routes=app.routes
    )
    document["components"] = {"schemas": _component_schemas()}
    engine = _example_engine(catalog)
    for operation in _operations(document):
        verb = operation.pop(_OPERATION, None)
        # FastAPI describes the errors of its own validation, which answers nothing here.
        if PROBLEM_JSON not in operation["responses"].get("422", {"content": PROBLEM_JSON})["content"]:
            del operation["responses"]["422"]
        if str(HTTPStatus.GATEWAY_TIMEOUT.value) in operation["responses"]:
            operation.setdefault("parameters", []).append(_TIMEOUT_PARAMETER)
        if engine is not None:
            _add_examples(operation, verb, engine)
    _add_security(document, admission)
    return document


def _add_security(document: dict[str, Any], admission: Admission) -> None:
    """The keys that each operation needs, and what is answered without."""
    needs = {path: admission.need(path) for path in document["paths"]}
    for path, need in needs.items():
        errors = protocol_error_responses if speaks_open_inference(path) else problem_responses
        for operation in document["paths"][path].values():
            if need in (Need.KEY, Need.ADMIN_KEY):
                operation["security"] = [{name: []} for name in _SECURITY_SCHEMES]
                unauthorised = errors(401)[401] | {"headers": {"WWW-Authenticate": _CHALLENGE}}
                operation["responses"]["401"] = unauthorised
            if need is Need.NOBODY_MAY or (need is Need.ADMIN_KEY and admission.has_users):
                operation["responses"]["403"] = errors(403)[403]
            operation["responses"] = dict(sorted(operation["responses"].items()))
    if {Need.KEY, Need.ADMIN_KEY} & set(needs.values()):
        document["components"]["securitySchemes"] = _SECURITY_SCHEMES


def _component_schemas() -> dict[str, Any]:
    _, requests = models_json_schema([(model, "validation") for model in _REQUESTS], ref_template=_COMPONENTS)
    _, replies = models_json_schema([(model, "serialization") for model in _REPLIES], ref_template=_COMPONENTS)
    return {**requests["$defs"], **replies["$defs"]}


def _operations(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _example_engine(catalog: Catalog) -> Engine | None:
    names = catalog.names()
    return catalog.get(names[0]) if names else None


def _add_examples(operation: dict[str, Any], verb: str | None, engine: Engine) -> None:
    values = {"model": engine.manifest.name, "version": str(engine.manifest.version)}
    for parameter in operation.get("parameters", ()):
        if parameter["in"] != "path":
            continue
        parameter["example"] = values[parameter["name"]]
    if verb is not None:
        operation["requestBody"]["content"][JSON]["example"] = _examples(engine)[verb]


def _examples(engine: Engine) -> dict[str, Any]:
    manifest = engine.manifest
    spec, golden = manifest.input, manifest.golden
    rounded = golden.inputs.array()[:1].astype(np.float64).round(_EXAMPLE_DECIMALS)
    inputs = rounded.clip(spec.minimum, spec.maximum).tolist()
    return {
        "encode": {"inputs": inputs, "temperature": 0.7, "seed": 7, "outputs": ["codes", "margins"]},
        "decode": {"codes": codes.to_hex(golden.codes.array()[:1], manifest.layout), "code_format": "hex"},
        "reconstruct": {"inputs": inputs, "code_format": "hex"},
        "generate": {"num_samples": 1, "seed": 7, "code_format": "hex"},
        "infer": {
            "id": "42",
            "inputs": [
                {"name": "inputs", "shape": [1, spec.size], "datatype": "FP32", "data": inputs[0]},
            ],
            "outputs": [{"name": "codes"}, {"name": "margins"}],
            "parameters": {"temperature": 0.7, "seed": 7},
        },
        "index": {"ready": True},
        "load": {},
        "unload": {"parameters": {"unload_dependents": False}},
    }
