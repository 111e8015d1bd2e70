"""What a model on disk says about itself: `manifest.json`.

Everything the service needs to serve a model, and what a person wants to know before trusting it.
"""

import base64
import hashlib
import json
import math
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticSerializationError, to_jsonable_python

from models.codes import MAX_CATEGORIES, CodeLayout
from models.codes import check as check_codes
from models.errors import CodeError, ManifestError
from models.noise import MAX_SEED, NoiseName
from models.relaxations import RELAXATIONS, RelaxationName
from models.relaxations import Kind as Kind  # a manifest's word: importers find it here

SCHEMA_VERSION: Literal[1] = 1
MANIFEST_FILE = "manifest.json"
_SHARES_TOLERANCE = 1e-3
MAX_USAGE_SYMBOLS = 1 << 16
"""Symbols of all latents together; of models with more, the use of codes is not counted."""
MAX_GRAPH_BYTES = (1 << 31) - 1
"""An ONNX file is one protocol buffer, and those end at 2 GiB."""

ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$")]
"""At most 64 of a-z, 0-9, `.`, `_` and `-`, a letter or digit at both ends: safe as a folder and in a URL."""

FileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
"""The plain name of a file beside the manifest: no path, nothing hidden, the same on every file system."""

LikelihoodName = Literal["bernoulli", "gaussian", "discretised_logistic", "grey_cross_entropy"]
Role = Literal["encoder", "sampler", "decoder", "prior"]
ROLES: tuple[Role, ...] = ("encoder", "sampler", "decoder")
"""The graphs that every model has; one with an autoregressive prior has a `prior` too."""


class _Part(BaseModel):
    """Frozen, and refusing unknown keys: a misspelt key is an error, not a default. Its numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _jsonable(value: dict[str, Any]) -> dict[str, Any]:
    """`value` as it will read after a round trip through JSON: tuples become lists, paths become strings."""
    try:
        plain: dict[str, Any] = to_jsonable_python(value)
        json.dumps(plain, allow_nan=False)
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"expected values that JSON can hold: {error}") from None
    return plain


JsonObject = Annotated[dict[str, Any], AfterValidator(_jsonable)]
"""Anything that JSON can hold, under names."""


class ImageSpec(_Part):
    """How an image becomes an input row: converted to `mode`, resized, inverted if asked, scaled from 0..255 to the
    input's range. `models.pictures` does it, and says what comes of orientation, transparency and 16 bits.

    The row holds the pixels row by row, the channels of a pixel together (height, width, channel).
    """

    mode: Literal["L", "RGB"]
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    resize: Literal["bilinear"] = "bilinear"
    invert: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.height, self.width) if self.mode == "L" else (self.height, self.width, 3)


class InputSpec(_Part):
    """Shape of one input, and the range its values lie in, both ends included."""

    shape: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    dtype: Literal["float32"] = "float32"
    minimum: float
    maximum: float
    image: ImageSpec | None = None

    @property
    def size(self) -> int:
        """Values in one input, D."""
        return math.prod(self.shape)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if not self.minimum < self.maximum:
            raise ValueError(f"expected minimum < maximum, got {self.minimum} and {self.maximum}")
        if self.image is not None and self.image.shape != self.shape:
            raise ValueError(f"image: expected an image of shape {self.shape}, got {self.image.shape}")
        return self


class RelaxationSpec(_Part):
    """The relaxation the model was trained with, and the standard noise its sampler graph takes."""

    name: RelaxationName
    noise: NoiseName


class Metric(_Part):
    """One measured number, with what is needed to measure it again. Nats an example unless `unit` says otherwise."""

    name: str
    value: float
    unit: str = "nats"
    split: str
    num_examples: int = Field(ge=1)
    protocol: str
    standard_error: float | None = None


class TrainingRecord(_Part):
    """What the model was trained on and how: the data's description and the resolved configuration of the run."""

    data: JsonObject
    config: JsonObject
    num_steps: int = Field(ge=0)
    duration_seconds: float = Field(ge=0)
    device: str


class GraphFile(_Part):
    """An ONNX graph beside the manifest."""

    file: FileName
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: int = Field(ge=1, le=MAX_GRAPH_BYTES)

    @classmethod
    def of(cls, file: str, content: bytes) -> Self:
        return cls(file=file, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))

    @model_validator(mode="after")
    def _is_not_the_manifest(self) -> Self:
        if self.file == MANIFEST_FILE:
            raise ValueError(f"file: expected another name than that of the manifest, got {self.file!r}")
        return self


class Tensor(_Part):
    """An array of finite numbers in JSON: little-endian bytes, row-major, in base64."""

    dtype: Literal["float32", "uint8", "uint16"]
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    data: str

    @classmethod
    def of(cls, array: NDArray[Any]) -> Self:
        """Raises ValidationError, a ValueError, on another dtype and on values that are not finite."""
        little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        return cls(
            dtype=array.dtype.name,
            shape=array.shape,
            data=base64.b64encode(little_endian.tobytes()).decode("ascii"),
        )

    def array(self) -> NDArray[Any]:
        """The array, a writable copy. Inverse of `of`."""
        content = base64.b64decode(self.data, validate=True)
        expected = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        if len(content) != expected:
            raise ValueError(f"data: expected {expected} bytes for {self.dtype} {list(self.shape)}, got {len(content)}")
        flat = np.frombuffer(content, np.dtype(self.dtype).newbyteorder("<"))
        return flat.astype(self.dtype).reshape(self.shape)

    @model_validator(mode="after")
    def _holds_what_it_promises(self) -> Self:
        if not np.isfinite(self.array()).all():
            raise ValueError("data: expected finite values, got NaN or infinity")
        return self


class UniformPrior(_Part):
    """Every code equally probable."""

    name: Literal["uniform"] = "uniform"


class FactorisedPrior(_Part):
    """Independent latents with laws of their own: `logits` [*latent], float32."""

    name: Literal["factorised"] = "factorised"
    logits: Tensor


class AutoregressivePrior(_Part):
    """Each latent has a law given those before it, which the graph `prior` computes."""

    name: Literal["autoregressive"] = "autoregressive"


Prior = Annotated[UniformPrior | FactorisedPrior | AutoregressivePrior, Field(discriminator="name")]


class Golden(_Part):
    """A few inputs and what the model made of them when it was exported.

    A host serves the model only when it gets the same: `logits`, `codes` (temperature 0), `sampled_codes` (at
    `temperature`, with the posterior noise of `seed`), `outputs` (decoded `codes`) and, where there is a graph for it,
    `prior_logits` (of the prior, at `codes`). Numbers must agree within 1e-4, or 1e-4 of their value where that is
    above 1.
    """

    inputs: Tensor
    logits: Tensor
    codes: Tensor
    seed: int = Field(ge=0, le=MAX_SEED)
    temperature: float = Field(gt=0)
    sampled_codes: Tensor
    outputs: Tensor
    prior_logits: Tensor | None = None


class CodeUsage(_Part):
    """How the codes of one split are used, at temperature 0: what a service compares the codes that it makes with.

    `shares` [*latent], float32: of each symbol, for bits of the 1, among the latent's codes of `num_examples` inputs.
    """

    split: str
    num_examples: int = Field(ge=1)
    shares: Tensor

    @classmethod
    def of(cls, codes: NDArray[Any], layout: CodeLayout, kind: Kind, *, split: str) -> Self:
        """Counted from codes [B, N], of which there must be one at least."""
        counts = np.stack([np.bincount(column, minlength=layout.num_categories) for column in np.asarray(codes).T])
        shares = (counts / len(codes)).astype(np.float32)
        return cls(split=split, num_examples=len(codes), shares=Tensor.of(shares[:, 1] if kind == "binary" else shares))

    def by_symbol(self, kind: Kind) -> NDArray[np.float64]:
        """The shares of all symbols, [N, K]; each latent's sum to 1."""
        shares: NDArray[np.float64] = self.shares.array().astype(np.float64)
        if kind == "binary":
            return np.stack([1 - shares, shares], axis=1)
        whole: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
        return whole


class Manifest(_Part):
    """One version of one model. Shapes: B rows, N latents, K categories, D input values."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: ModelName
    version: int = Field(ge=1)
    description: str = ""
    kind: Kind
    num_latents: int = Field(ge=1, le=65536)
    num_categories: int = Field(ge=2, le=MAX_CATEGORIES)
    input: InputSpec
    likelihood: LikelihoodName
    relaxation: RelaxationSpec
    estimator: str
    relaxation_temperature: float = Field(gt=0)
    prior: Prior
    metrics: tuple[Metric, ...]
    training: TrainingRecord
    libraries: dict[str, str]
    created: AwareDatetime
    graphs: dict[Role, GraphFile]
    golden: Golden
    usage: CodeUsage | None = None

    @property
    def layout(self) -> CodeLayout:
        return CodeLayout(self.num_latents, self.num_categories)

    @property
    def code_bits(self) -> int:
        return self.layout.num_bits

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one row of logits, noise and relaxed codes: (N,) binary, (N, K) categorical."""
        return (self.num_latents,) if self.kind == "binary" else (self.num_latents, self.num_categories)

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """Shape of one row of what the sampler takes: that of logits, with a last axis where parameters are several."""
        num_parameters = RELAXATIONS[self.relaxation.name].num_parameters
        return self.latent_shape if num_parameters == 1 else (*self.latent_shape, num_parameters)

    @property
    def roles(self) -> tuple[Role, ...]:
        """The graphs that the model has, in order."""
        return (*ROLES, "prior") if self.prior.name == "autoregressive" else ROLES

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.kind == "binary" and self.num_categories != 2:
            raise ValueError(f"num_categories: expected 2 for a binary model, got {self.num_categories}")
        self._check_relaxation()
        if set(self.graphs) != set(self.roles):
            raise ValueError(f"graphs: expected exactly {', '.join(self.roles)}, got {', '.join(sorted(self.graphs))}")
        files = [graph.file for graph in self.graphs.values()]
        if len(set(files)) != len(files):
            raise ValueError(f"graphs: expected a file of its own for each, got {', '.join(files)}")
        if self.prior.name == "factorised":
            _check_tensor("prior.logits", self.prior.logits, "float32", self.latent_shape)
        self._check_golden()
        self._check_usage()
        return self

    def _check_relaxation(self) -> None:
        relaxation = RELAXATIONS[self.relaxation.name]
        if relaxation.kind != self.kind:
            fitting = [name for name, other in RELAXATIONS.items() if other.kind == self.kind]
            raise ValueError(
                f"relaxation.name: expected one of {', '.join(fitting)} for a {self.kind} model, "
                f"got {self.relaxation.name}"
            )
        if relaxation.noise != self.relaxation.noise:
            raise ValueError(
                f"relaxation.noise: expected {relaxation.noise} for {self.relaxation.name}, got {self.relaxation.noise}"
            )

    def _check_golden(self) -> None:
        rows = self.golden.inputs.shape[:1]
        if rows in ((), (0,)):
            raise ValueError(f"golden.inputs: expected at least one row, got shape {self.golden.inputs.shape}")
        codes = self.layout.dtype.name
        expected = {
            "inputs": ("float32", (*rows, self.input.size)),
            "logits": ("float32", (*rows, *self.latent_shape)),
            "codes": (codes, (*rows, self.num_latents)),
            "sampled_codes": (codes, (*rows, self.num_latents)),
            "outputs": ("float32", (*rows, self.input.size)),
        }
        if ("prior" in self.roles) != (self.golden.prior_logits is not None):
            wanted = (
                "a tensor, since there is a prior graph" if "prior" in self.roles else "null, without a prior graph"
            )
            raise ValueError(f"golden.prior_logits: expected {wanted}")
        if "prior" in self.roles:
            expected["prior_logits"] = expected["logits"]
        for field, (dtype, shape) in expected.items():
            _check_tensor(f"golden.{field}", getattr(self.golden, field), dtype, shape)
        for field in ("codes", "sampled_codes"):
            try:
                check_codes(getattr(self.golden, field).array(), self.layout)
            except CodeError as error:
                raise ValueError(f"golden.{field}: {error}") from None

    def _check_usage(self) -> None:
        if self.usage is None:
            return
        _check_tensor("usage.shares", self.usage.shares, "float32", self.latent_shape)
        shares = self.usage.shares.array()
        if not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError(
                f"usage.shares: expected shares from 0 to 1, got {float(shares.min()):g} to {float(shares.max()):g}"
            )
        if self.kind == "categorical" and np.abs(shares.sum(axis=1, dtype=np.float64) - 1).max() > _SHARES_TOLERANCE:
            raise ValueError("usage.shares: expected the shares of each latent's symbols to sum to 1")

    def to_json(self) -> bytes:
        """The text of `manifest.json`. Inverse of `from_json`."""
        return self.model_dump_json(indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Raises ManifestError, which names each field that is wrong, what was expected and, if short, what came."""
        try:
            # Strict: a number is not spelt as a string, nor `true` as 1.
            return cls.model_validate_json(text, strict=True)
        except ValidationError as error:
            raise ManifestError("; ".join(map(_sentence, error.errors(include_url=False)[:10]))) from None


def _check_tensor(field: str, tensor: Tensor, dtype: str, shape: tuple[int, ...]) -> None:
    if (tensor.dtype, tensor.shape) != (dtype, shape):
        raise ValueError(f"{field}: expected {dtype} of shape {shape}, got {tensor.dtype} {tensor.shape}")


def _sentence(problem: ErrorDetails) -> str:
    path = [str(part) for part in problem["loc"]]
    if path[:1] == ["prior"]:
        del path[1:2]  # of a union, the location names the member chosen too
    field = ".".join(path) or "manifest"
    got, kind = problem["input"], problem["type"]
    # The input of these is the text or the object around, which says nothing about the field.
    shown = isinstance(got, str | int | float | None) and kind not in ("json_invalid", "missing", "value_error")
    return f"{field}: {problem['msg'].removeprefix('Value error, ')}" + (f", got {got!r:.60}" if shown else "")
