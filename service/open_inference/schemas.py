"""The protocol's JSON objects, as OpenAPI describes them and tests hold the service to them.

The names are those of the specification. Objects of a request may hold more than is said here, which is passed over;
those of a reply hold nothing else.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, WithJsonSchema

from models.noise import MAX_SEED
from service.open_inference.metadata import INPUTS, OUTPUTS
from service.open_inference.requests import MAX_ID_LENGTH
from service.sampling import (
    MAX_FIRST_ROW,
    MAX_RELAXATION_TEMPERATURE,
    MAX_TEMPERATURE,
    MIN_RELAXATION_TEMPERATURE,
)


class _Object(BaseModel):
    # Built when the OpenAPI document is asked for: requests are read by `requests`, and replies are dictionaries.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=(), defer_build=True)


class _Lenient(_Object):
    model_config = ConfigDict(extra="ignore", json_schema_extra={"additionalProperties": True})


Elements = Annotated[
    list[Any],
    WithJsonSchema(
        {
            "type": "array",
            "items": {"anyOf": [{"type": "number"}, {"type": "array", "items": {}}]},
            "description": "Row-major; flat, or nested like the shape.",
        }
    ),
]
FlatElements = Annotated[
    list[Any],
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "description": "Row-major and flat."}),
]


class RequestParameters(_Object):
    """Of an inference request. Those of temperatures and samples are as in `/v1`; the others are the protocol's."""

    temperature: Annotated[float | None, Field(ge=0, le=MAX_TEMPERATURE)] = None
    relaxation_temperature: Annotated[
        float | None, Field(ge=MIN_RELAXATION_TEMPERATURE, le=MAX_RELAXATION_TEMPERATURE)
    ] = None
    seed: Annotated[int | None, Field(ge=0, le=MAX_SEED)] = None
    first_row: Annotated[int | None, Field(ge=0, le=MAX_FIRST_ROW)] = None
    num_samples: Annotated[int | None, Field(ge=1)] = None
    binary_data_output: Annotated[bool | None, Field(description="Return outputs as bytes behind the JSON.")] = None
    timeout: Annotated[
        int | None, Field(ge=0, le=(1 << 63) - 1, description="Microseconds after which the answer is 504; 0 for none.")
    ] = None
    priority: Annotated[int | None, Field(ge=0, le=(1 << 64) - 1, description="Ignored.")] = None
    sequence_id: Annotated[Literal[0, ""] | None, Field(description="Models keep no state: only no sequence.")] = None
    sequence_start: Literal[False] | None = None
    sequence_end: Literal[False] | None = None


class InputParameters(_Object):
    """Of an input tensor."""

    binary_data_size: Annotated[
        int | None, Field(ge=0, description="Bytes of the tensor behind the JSON, in place of `data`.")
    ] = None


class OutputParameters(_Object):
    """Of a requested output."""

    binary_data: Annotated[bool | None, Field(description="Return it as bytes behind the JSON.")] = None


class RequestInput(_Lenient):
    """An input tensor. `inputs` encodes, `codes` and `relaxed` decode."""

    name: Literal["inputs", "codes", "relaxed"]
    shape: Annotated[list[int], Field(min_length=2, description="Rows first.")]
    datatype: Annotated[str, Field(description="FP32, or as the model's metadata says; see the documents for others.")]
    parameters: InputParameters | None = None
    data: Elements | None = None


class RequestOutput(_Lenient):
    """An output tensor that is wanted."""

    name: Annotated[str, Field(json_schema_extra={"enum": list(OUTPUTS)})]
    parameters: OutputParameters | None = None


class InferenceRequest(_Lenient):
    """One input tensor, or none, which draws codes from the prior; and the outputs that are wanted, by default all."""

    id: Annotated[str | None, Field(max_length=MAX_ID_LENGTH, description="Comes back in the reply.")] = None
    parameters: RequestParameters | None = None
    inputs: Annotated[list[RequestInput], Field(max_length=1)]
    outputs: Annotated[list[RequestOutput] | None, Field(max_length=len(OUTPUTS))] = None


class BinarySize(_Object):
    """Of a tensor whose bytes follow the JSON."""

    binary_data_size: Annotated[int, Field(ge=0)]


class ResponseOutput(_Object):
    """An output tensor: `data`, or the size of its bytes."""

    name: str
    shape: list[int]
    datatype: str
    parameters: BinarySize | None = None
    data: FlatElements | None = None


class ResponseParameters(_Object):
    """Of an inference response."""

    seed: Annotated[int, Field(description="What codes were drawn with.")]


class InferenceResponse(_Object):
    """The outputs that were asked for, in that order."""

    model_name: str
    model_version: str
    id: Annotated[str | None, Field(description="As in the request, if it had one.")] = None
    parameters: ResponseParameters | None = None
    outputs: list[ResponseOutput]


class TensorMetadata(_Object):
    """A tensor of a model; a dimension of -1 is any number of rows."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(_Object):
    """What a model takes and gives. A request brings one of the inputs, or none."""

    name: str
    versions: list[str]
    platform: str
    inputs: Annotated[list[TensorMetadata], Field(min_length=len(INPUTS), max_length=len(INPUTS))]
    outputs: Annotated[list[TensorMetadata], Field(min_length=len(OUTPUTS), max_length=len(OUTPUTS))]


class ModelReady(_Object):
    """Whether the model, or the version that the path names, is served."""

    name: str
    ready: bool


class ServerMetadata(_Object):
    """The server, and the extensions of the protocol that it has."""

    name: str
    version: str
    extensions: list[str]


class DurationStat(_Object):
    """How often something was done, and how long it took in all."""

    count: int
    ns: int


class InferenceStats(_Object):
    """Of the requests for a version."""

    success: DurationStat
    fail: DurationStat
    queue: DurationStat
    compute_input: DurationStat
    compute_infer: DurationStat
    compute_output: DurationStat
    cache_hit: DurationStat


class BatchStats(_Object):
    """Of the runs with so many rows."""

    batch_size: int
    compute_input: DurationStat
    compute_infer: DurationStat
    compute_output: DurationStat


class ModelStat(_Object):
    """What was done for one version since the service started, in all workers."""

    name: str
    version: str
    last_inference: Annotated[int, Field(description="Milliseconds since 1970; 0 when nothing was asked for yet.")]
    inference_count: Annotated[int, Field(description="Rows, times samples, of requests that were answered.")]
    execution_count: Annotated[int, Field(description="Runs of one of the model's graphs.")]
    inference_stats: InferenceStats
    batch_stats: list[BatchStats]


class ModelStatistics(_Object):
    """Of every version that the path means and that is served."""

    model_stats: list[ModelStat]


class RepositoryIndexRequest(_Lenient):
    """Which entries of the index are wanted."""

    ready: Annotated[bool | None, Field(description="Only versions that are served.")] = None


class NoParameters(_Object):
    """There are none: a model is loaded as it is on disk."""


class RepositoryLoadRequest(_Lenient):
    """Nothing but the model that the path names."""

    parameters: NoParameters | None = None


class UnloadParameters(_Object):
    """Of a request to unload."""

    unload_dependents: Annotated[bool | None, Field(description="Changes nothing: models do not depend on others.")] = (
        None
    )


class RepositoryUnloadRequest(_Lenient):
    """Nothing but the model that the path names."""

    parameters: UnloadParameters | None = None


class RepositoryEntry(_Object):
    """A version on disk or in service."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: Annotated[
        str, Field(description="Why it is not served, or what is wrong with its files; empty if nothing.")
    ]


class RepositoryIndex(RootModel[list[RepositoryEntry]]):
    """Versions on disk or in service, by name and version."""


class ProtocolError(_Object):
    """What every failed request of the protocol gets."""

    error: str
