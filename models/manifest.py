"""What a model on disk says about itself: `manifest.json`.

Everything the service needs to serve a model, and what a person wants to know before trusting it.
"""

import base64
import hashlib
from datetime import datetime
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from models.codes import MAX_CATEGORIES, CodeLayout
from models.errors import ManifestError
from models.noise import MAX_SEED, NoiseName

SCHEMA_VERSION = 1

ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$")]
"""Lower-case letters, digits, `.`, `_`, `-`; at most 64, a letter or digit at both ends: safe as a folder and in a URL."""

Kind = Literal["binary", "categorical"]
Role = Literal["encoder", "sampler", "decoder"]
ROLES: tuple[Role, ...] = ("encoder", "sampler", "decoder")


class _Part(BaseModel):
    """Frozen, and refusing unknown keys: a misspelt key is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ImageSpec(_Part):
    """How an image becomes an input row: converted to `mode`, resized, divided by 255, inverted if asked, flattened.

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
        return int(np.prod(self.shape, dtype=np.int64))

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if not self.minimum < self.maximum:
            raise ValueError(f"expected minimum < maximum, got {self.minimum} and {self.maximum}")
        if self.image is not None and self.image.shape != self.shape:
            raise ValueError(f"image: expected an image of shape {self.shape}, got {self.image.shape}")
        return self


class RelaxationSpec(_Part):
    """The relaxation the model was trained with, and the standard noise its sampler graph takes."""

    name: Literal["binary_concrete", "concrete"]
    noise: NoiseName


class UniformPrior(_Part):
    """Every code equally probable."""

    name: Literal["uniform"] = "uniform"


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

    data: dict[str, Any]
    config: dict[str, Any]
    num_steps: int = Field(ge=0)
    duration_seconds: float = Field(ge=0)
    device: str


class GraphFile(_Part):
    """An ONNX graph beside the manifest."""

    file: str
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: int = Field(ge=1)

    @classmethod
    def of(cls, file: str, content: bytes) -> Self:
        return cls(file=file, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))

    @model_validator(mode="after")
    def _stays_in_its_folder(self) -> Self:
        if PurePath(self.file).name != self.file or self.file.startswith(".") or "\\" in self.file:
            raise ValueError(f"file: expected the plain name of a file beside the manifest, got {self.file!r}")
        return self


class Tensor(_Part):
    """An array in JSON: little-endian bytes, row-major, in base64."""

    dtype: Literal["float32", "uint8", "uint16"]
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    data: str

    @classmethod
    def of(cls, array: NDArray[Any]) -> Self:
        little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        return cls(
            dtype=array.dtype.name,  # type: ignore[arg-type]  # pydantic refuses the others
            shape=array.shape,
            data=base64.b64encode(little_endian.tobytes()).decode("ascii"),
        )

    def array(self) -> NDArray[Any]:
        flat = np.frombuffer(base64.b64decode(self.data, validate=True), np.dtype(self.dtype).newbyteorder("<"))
        return flat.astype(self.dtype).reshape(self.shape)

    @model_validator(mode="after")
    def _holds_what_it_promises(self) -> Self:
        self.array()
        return self


class Golden(_Part):
    """A few inputs and what the model made of them when it was exported.

    A host serves the model only when it gets the same: `logits` within 1e-4, `codes` (temperature 0),
    `sampled_codes` (at `temperature`, with the posterior noise of `seed`) and `outputs` (decoded `codes`, within 1e-4).
    """

    inputs: Tensor
    logits: Tensor
    codes: Tensor
    seed: int = Field(ge=0, le=MAX_SEED)
    temperature: float = Field(gt=0)
    sampled_codes: Tensor
    outputs: Tensor


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
    likelihood: Literal["bernoulli"]
    relaxation: RelaxationSpec
    estimator: str
    relaxation_temperature: float = Field(gt=0, allow_inf_nan=False)
    prior: UniformPrior
    metrics: tuple[Metric, ...]
    training: TrainingRecord
    libraries: dict[str, str]
    created: datetime
    graphs: dict[Role, GraphFile]
    golden: Golden

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

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.kind == "binary" and self.num_categories != 2:
            raise ValueError(f"num_categories: expected 2 for a binary model, got {self.num_categories}")
        fitting = {"binary": ("binary_concrete", "logistic"), "categorical": ("concrete", "gumbel")}[self.kind]
        if (self.relaxation.name, self.relaxation.noise) != fitting:
            raise ValueError(
                f"relaxation: expected {fitting[0]} with {fitting[1]} noise for a {self.kind} model, "
                f"got {self.relaxation.name} with {self.relaxation.noise} noise"
            )
        if set(self.graphs) != set(ROLES):
            raise ValueError(f"graphs: expected exactly {', '.join(ROLES)}, got {', '.join(sorted(self.graphs))}")
        files = [graph.file for graph in self.graphs.values()]
        if len(set(files)) != len(files):
            raise ValueError(f"graphs: expected a file of its own for each, got {', '.join(files)}")
        num_golden = self.golden.inputs.shape[0] if self.golden.inputs.shape else 0
        if num_golden < 1:
            raise ValueError("golden.inputs: expected at least one row")
        expected = {
            "inputs": (num_golden, self.input.size),
            "logits": (num_golden, *self.latent_shape),
            "codes": (num_golden, self.num_latents),
            "sampled_codes": (num_golden, self.num_latents),
            "outputs": (num_golden, self.input.size),
        }
        for field, shape in expected.items():
            got = getattr(self.golden, field).shape
            if got != shape:
                raise ValueError(f"golden.{field}: expected shape {shape}, got {got}")
        return self

    def to_json(self) -> bytes:
        """The text of `manifest.json`. Inverse of `from_json`."""
        return self.model_dump_json(indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Raises ManifestError, which names each field that is wrong and why."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(part) for part in problem['loc']) or 'manifest'}: {problem['msg']}"
                for problem in error.errors(include_input=False, include_url=False)[:10]
            )
            raise ManifestError(problems) from None
