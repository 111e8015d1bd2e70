"""Requests and replies of `/v1`: what may be in them, and how OpenAPI describes them.

Requests are validated in two steps. Names, types and ranges of the parameters are these models' (strict: the string
"1" is no number, `true` is none either, an unknown name is an error). The arrays never get here: reading them needs the
model's shapes and has to be fast, so `wire` does it; what these models have of them is a description.

Replies are written as plain dictionaries of arrays; their models say what is in them and are held to it by tests.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from models.manifest import InputSpec, Kind, Metric, Prior, RelaxationSpec, TrainingRecord
from models.noise import MAX_SEED
from service.sampling import (
    FIRST_ROW_EXPECTED,
    MAX_FIRST_ROW,
    MAX_RELAXATION_TEMPERATURE,
    MAX_TEMPERATURE,
    MIN_RELAXATION_TEMPERATURE,
    RELAXATION_TEMPERATURE_EXPECTED,
    SEED_EXPECTED,
    TEMPERATURE_EXPECTED,
)

CodeFormat = Literal["indices", "hex", "base64"]

_NUMBERS = {"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "array", "items": {}}]}}
_ROWS = {"type": "array", "minItems": 1, "items": _NUMBERS}


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())


class _Reply(BaseModel):
    # Built when the OpenAPI document is asked for: nothing else needs them.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=(), defer_build=True)


Inputs = Annotated[
    Any,
    WithJsonSchema(
        _ROWS | {"description": "Rows, each flat or in the model's input shape, with values in the model's range."}
    ),
]
ImagesIn = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "contentEncoding": "base64"},
            "description": "PNG or JPEG files in base64, instead of `inputs`. Each is converted as the manifest says: "
            "turned upright, laid over white, to grey or colour, resized, inverted if it says so, to its range.",
        }
    ),
]
CodesIn = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": [{"type": "array", "items": {"type": "integer", "minimum": 0}}, {"type": "string"}]},
            "description": "Codes in the layout that `code_format` names: lists of integers, or strings.",
        }
    ),
]
RelaxedIn = Annotated[
    Any,
    WithJsonSchema(
        _ROWS | {"description": "Relaxed codes: values in [0, 1]; those of a categorical latent sum to 1 within 0.001."}
    ),
]

Temperature = Annotated[
    float,
    Field(
        ge=0,
        le=MAX_TEMPERATURE,
        allow_inf_nan=False,
        description="How random the codes are. 0: the most probable code; 1: an exact sample of the posterior.",
    ),
]
PriorTemperature = Annotated[
    float,
    Field(
        ge=0,
        le=MAX_TEMPERATURE,
        allow_inf_nan=False,
        description="How random the codes are. 1: an exact sample of the prior; 0: each latent's most probable value, "
        "given those before it.",
    ),
]
RelaxationTemperature = Annotated[
    float | None,
    Field(
        ge=MIN_RELAXATION_TEMPERATURE,
        le=MAX_RELAXATION_TEMPERATURE,
        allow_inf_nan=False,
        description="How sharp `relaxed` is; never changes the codes. By default the one that training ended with.",
    ),
]
Seed = Annotated[
    int | None,
    Field(
        ge=0,
        le=MAX_SEED,
        description="The same request with the same seed gets the same codes. By default drawn, and returned.",
    ),
]
FirstRow = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_FIRST_ROW,
        description="Number of the first row, for the noise. Requests of one seed that continue each other's rows get "
        "the codes that a single request would.",
    ),
]
NumSamples = Annotated[
    int, Field(ge=1, description="Samples of each row; with more than one, a sample axis follows the rows.")
]
CodeFormatField = Annotated[
    CodeFormat, Field(description="`indices`, or the packed bits of a code as `hex` or `base64`.")
]
EncodeOutput = Literal["codes", "relaxed", "probabilities", "logits", "margins", "near_ties", "inputs", "conversions"]
GenerateOutput = Literal["codes", "relaxed"]

EXPECTED = {
    "inputs": "a list of rows",
    "temperature": TEMPERATURE_EXPECTED,
    "relaxation_temperature": RELAXATION_TEMPERATURE_EXPECTED,
    "seed": SEED_EXPECTED,
    "num_samples": "an integer of at least 1",
    "first_row": FIRST_ROW_EXPECTED,
    "code_format": "indices, hex or base64",
}
"""What to say of a parameter that does not fit, whatever is wrong with it."""


class EncodeRequest(_Request):
    """Inputs, or images, to codes: exactly one of `inputs` and `images`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["inputs"]}, {"required": ["images"]}]})

    inputs: Inputs = None
    images: ImagesIn = None
    temperature: Temperature = 0.0
    relaxation_temperature: RelaxationTemperature = None
    seed: Seed = None
    num_samples: NumSamples = 1
    first_row: FirstRow = 0
    outputs: Annotated[
        list[EncodeOutput],
        Field(
            min_length=1,
            max_length=8,
            default_factory=lambda: ["codes"],  # a default would be copied deeply for each request
            description="What to return: of the encoding; `inputs`, the rows as the model saw them; and of images "
            "`conversions`, what was done to each.",
            json_schema_extra={"default": ["codes"]},
        ),
    ]
    code_format: CodeFormatField = "indices"


class ReconstructRequest(EncodeRequest):
    """Inputs to codes and back. `outputs` says what to return of the encoding, beside the decoded outputs."""


class DecodeRequest(_Request):
    """Codes to outputs: exactly one of `codes` and `relaxed`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["codes"]}, {"required": ["relaxed"]}]})

    codes: CodesIn = None
    relaxed: RelaxedIn = None
    code_format: CodeFormatField = "indices"


class GenerateRequest(_Request):
    """Codes drawn from the prior, decoded."""

    num_samples: Annotated[int, Field(ge=1, description="How many codes to draw.")] = 1
    temperature: PriorTemperature = 1.0
    relaxation_temperature: RelaxationTemperature = None
    seed: Seed = None
    first_row: FirstRow = 0
    outputs: Annotated[
        list[GenerateOutput],
        Field(
            min_length=1,
            max_length=2,
            default_factory=lambda: ["codes"],
            description="What to return beside the decoded outputs.",
            json_schema_extra={"default": ["codes"]},
        ),
    ]
    code_format: CodeFormatField = "indices"


Array = Annotated[list[Any], WithJsonSchema({"type": "array", "items": {}})]


class _Answer(_Reply):
    model: Annotated[str, Field(description="Name of the model that answered.")]
    version: Annotated[int, Field(description="Version of the model that answered.")]


class _SeededAnswer(_Answer):
    seed: Annotated[int | None, Field(description="The seed used; at temperature 0 the one given, or null.")]


class ConversionRecord(_Reply):
    """What an image was, and what was done to it, in order, to make an input of it."""

    format: Literal["PNG", "JPEG"]
    width: int
    height: int
    steps: list[str]


class EncodeReply(_SeededAnswer):
    """What `outputs` asked for, and nothing else. B rows, N latents, K categories; S samples when more than one."""

    codes: Annotated[Array | None, Field(description="[B, N], or strings [B]; with samples [B, S, N] or [B, S].")] = (
        None
    )
    relaxed: Annotated[
        Array | None, Field(description="[B, N] binary, [B, N, K] categorical; a sample axis after B.")
    ] = None
    probabilities: Annotated[Array | None, Field(description="Of the posterior: [B, N] or [B, N, K].")] = None
    logits: Annotated[Array | None, Field(description="Of the posterior: [B, N] log-odds of 1, or [B, N, K].")] = None
    margins: Annotated[
        Array | None, Field(description="[B, N]: best minus second-best score of each latent; a sample axis after B.")
    ] = None
    near_ties: Annotated[
        Array | None,
        Field(
            description="[B], a sample axis after B: whether a margin is below the model's `near_tie_margin`, so that "
            "the same row in another batch might get another code."
        ),
    ] = None
    inputs: Annotated[Array | None, Field(description="Rows in the model's input shape, as the model saw them.")] = None
    conversions: Annotated[list[ConversionRecord] | None, Field(description="What was done to each image.")] = None


class DecodeReply(_Answer):
    """Decoded outputs."""

    outputs: Annotated[Array, Field(description="Rows in the model's input shape: means of the likelihood.")]


class ReconstructReply(EncodeReply):
    """An encoding with its decoded outputs."""

    outputs: Annotated[
        Array, Field(description="Rows in the model's input shape; with samples an axis after the rows.")
    ]
    mean_squared_error: Annotated[Array, Field(description="[B], or [B, S]: over the values of a row.")]


class GenerateReply(_SeededAnswer):
    """Codes drawn from the prior with their decoded outputs."""

    codes: Annotated[Array | None, Field(description="[B, N], or strings [B].")] = None
    relaxed: Annotated[
        Array | None,
        Field(
            description="Sigmoid or softmax of (prior logits + temperature noise) over relaxation_temperature, "
            "whatever relaxes the posterior: [B, N] binary, [B, N, K] categorical."
        ),
    ] = None
    outputs: Annotated[Array, Field(description="Rows in the model's input shape.")]


class RefusedVersion(_Reply):
    """Files of a version on disk that are not served."""

    version: int
    reason: str


Refused = Annotated[
    list[RefusedVersion],
    Field(description="Versions whose files are not served, and why; one of them may be served as it was before."),
]


class ModelSummary(_Reply):
    """One model that is served. What is not its name or versions is that of its highest served version."""

    name: str
    version: Annotated[int, Field(description="What a request without a version gets: the highest that is served.")]
    versions: Annotated[list[int], Field(description="Versions that are served.")]
    refused: Refused
    description: str
    kind: Kind
    num_latents: int
    num_categories: int
    code_bits: Annotated[int, Field(description="Bits of a packed code.")]
    input: InputSpec


class ModelList(_Reply):
    """Every model that is served."""

    models: list[ModelSummary]


class GraphRecord(_Reply):
    """An ONNX graph, as published."""

    file: str
    sha256: str
    size_bytes: int


class ModelReply(_Reply):
    """A version of a model: its manifest, without golden vectors and usage, and what this server makes of it."""

    name: str
    version: int
    manifest_sha256: Annotated[
        str, Field(description="Of `manifest.json` on disk, in hexadecimal: which model, to the last bit, made a code.")
    ]
    versions: Annotated[list[int], Field(description="Versions of this model that are served.")]
    refused: Refused
    provider: Annotated[str, Field(description="The execution provider of ONNX Runtime that really runs the model.")]
    near_tie_margin: Annotated[
        float, Field(description="Below it a code may depend on the batch, on that provider; 0: none does.")
    ]
    schema_version: int
    description: str
    kind: Kind
    num_latents: int
    num_categories: int
    code_bits: Annotated[int, Field(description="Bits of a packed code.")]
    input: InputSpec
    likelihood: str
    relaxation: RelaxationSpec
    estimator: str
    relaxation_temperature: float
    prior: Prior
    metrics: list[Metric]
    training: TrainingRecord
    libraries: dict[str, str]
    created: str
    graphs: dict[str, GraphRecord]


class ExamplesReply(_Answer):
    """Inputs that came with a model, those of its golden vectors."""

    inputs: Annotated[Array, Field(description="Rows in the model's input shape.")]


class Live(_Reply):
    """The process answers."""

    live: Literal[True]


class FailedModel(_Reply):
    """A version that would answer by default, had it not been refused."""

    model: str
    version: int
    reason: str


class Ready(_Reply):
    """Whether a version of every model on disk is served, there is a model, and all workers take requests."""

    ready: bool
    failed: list[FailedModel]
    reasons: list[Annotated[str, Field(description="Why the service as a whole should get no requests now.")]]


class UsageReply(_Reply):
    """How the codes of a model were used over a sliding window. Lists have an entry for each latent."""

    model: str
    version: int
    window_seconds: float
    num_rows: Annotated[int, Field(description="Codes in the window.")]
    max_entropy_bits: Annotated[float, Field(description="log2 of the number of symbols.")]
    entropy_bits: list[float]
    dead_latents: Annotated[list[int], Field(description="Latents that took the same symbol for every row.")]
    unseen_symbols: Annotated[list[int], Field(description="How many symbols did not come.")]
    drift: Annotated[
        list[float], Field(description="Total variation distance, 0 to 1, of the window from all that came before it.")
    ]
    training_drift: Annotated[
        list[float] | None,
        Field(
            description=(
                "Total variation distance, 0 to 1, of the window from the codes of training at temperature 0; null "
                "where nothing came, or the manifest does not say how those were used."
            )
        ),
    ]
    training_drift_by_chance: Annotated[
        float | None,
        Field(
            description="What the largest of `training_drift` comes to by chance, once in a hundred windows at most."
        ),
    ]
    sampled_ratio: Annotated[
        float,
        Field(description="Share of codes drawn at a temperature above 0, which may add as much to `training_drift`."),
    ]
    near_tie_ratio: Annotated[
        float | None, Field(description="Share of symbols decided by less than 1e-4; null while none was looked at.")
    ]


class ProblemField(_Reply):
    """One field that does not fit."""

    field: str
    expected: str
    received: str


class Problem(_Reply):
    """RFC 9457 problem details; `field`, `expected` and `received` where a field is at fault, `errors` for several."""

    type: str
    title: str
    status: int
    detail: str
    instance: Annotated[str, Field(description="Path of the request.")]
    request_id: Annotated[str, Field(description="The same as in the header X-Request-ID and in the server's log.")]
    field: str | None = None
    expected: str | None = None
    received: str | None = None
    errors: list[ProblemField] | None = None
