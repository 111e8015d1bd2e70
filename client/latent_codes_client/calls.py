"""What the client sends: one `Call` for each thing that the service does, without sending it.

Both clients send these, so that they cannot differ. Rows travel in binary (`.npy`, with the parameters in the query),
and come back so where the reply is one array; codes as text, images and replies of several arrays are JSON.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from latent_codes_client import arrays, replies
from latent_codes_client.arrays import CodeFormat
from latent_codes_client.chunks import Chunk
from latent_codes_client.errors import InvalidArgument
from latent_codes_client.replies import NPY, Reply
from latent_codes_client.results import Decoding, Encoding, Generation, Model, ModelSummary, Reconstruction

Output = Literal["codes", "relaxed", "probabilities", "logits", "margins", "near_ties"]
HealthState = Literal["live", "ready"]

JSON = "application/json"

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Body:
    """The bytes of a request and what they are."""

    content: bytes
    content_type: str


@dataclass(frozen=True)
class Call(Generic[ResultT]):
    """A request, and how its reply is read."""

    method: Literal["GET", "POST"]
    path: str
    """Below the service's address, without a leading slash, escaped."""
    read: Callable[[Reply], ResultT]
    body: Body | None = None
    query: Mapping[str, str] | None = None
    accept: str = JSON


@dataclass(frozen=True)
class Target:
    """A model, and the version to ask for: None is the highest."""

    model: str
    version: int | None


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn, and what is asked for; checked as far as no service could accept it."""

    temperature: float
    relaxation_temperature: float | None
    seed: int | None
    num_samples: int
    first_row: int
    outputs: tuple[Output, ...]
    code_format: CodeFormat

    @classmethod
    def checked(
        cls,
        *,
        temperature: float,
        relaxation_temperature: float | None,
        seed: int | None,
        outputs: Sequence[Output],
        code_format: CodeFormat,
        num_samples: int = 1,
        first_row: int = 0,
    ) -> "Sampling":
        """Raises InvalidArgument."""
        if isinstance(outputs, str):
            raise InvalidArgument(f"outputs: expected a sequence of names, got the string {outputs!r}")
        tau = relaxation_temperature
        return cls(
            temperature=arrays.number("temperature", temperature),
            relaxation_temperature=None if tau is None else arrays.number("relaxation_temperature", tau),
            seed=None if seed is None else arrays.integer("seed", seed),
            num_samples=arrays.integer("num_samples", num_samples),
            first_row=arrays.integer("first_row", first_row),
            outputs=tuple(outputs),
            code_format=code_format,
        )

    def fields(self, start: int) -> dict[str, Any]:
        """What the service calls them, of rows that begin `start` after the first. What is None is left to it."""
        given = {
            "temperature": self.temperature,
            "relaxation_temperature": self.relaxation_temperature,
            "seed": self.seed,
            "num_samples": self.num_samples,
            "first_row": self.first_row + start or None,
            "outputs": list(self.outputs),
            "code_format": self.code_format,
        }
        return {name: value for name, value in given.items() if value is not None}


def encode(target: Target, chunk: Chunk, sampling: Sampling) -> Call[Encoding]:
    fields = sampling.fields(chunk.start)
    if len(sampling.outputs) == 1 and sampling.code_format == "indices":
        name = sampling.outputs[0]
        return _of_rows(target, "encode", chunk, fields, lambda reply: replies.encoding_of_array(reply, name), NPY)
    return _of_rows(target, "encode", chunk, fields, replies.encoding)


def reconstruct(target: Target, chunk: Chunk, sampling: Sampling) -> Call[Reconstruction]:
    return _of_rows(target, "reconstruct", chunk, sampling.fields(chunk.start), replies.reconstruction)


def decode(target: Target, chunk: Chunk, code_format: CodeFormat) -> Call[Decoding]:
    assert chunk.rows is not None
    if code_format == "indices":
        codes = arrays.sendable("codes", chunk.rows, chunk.start)
        return _post(target, "decode", _npy(codes), replies.decoding_of_array, NPY)
    fields = {"codes": chunk.rows.tolist(), "code_format": code_format}
    return _post(target, "decode", _json(fields), replies.decoding_of_array, NPY)


def decode_relaxed(target: Target, chunk: Chunk) -> Call[Decoding]:
    assert chunk.rows is not None
    relaxed = arrays.sendable("relaxed", chunk.rows, chunk.start)
    if relaxed.dtype.kind != "f":  # integers would be taken for codes
        relaxed = relaxed.astype(np.float64)
    return _post(target, "decode", _npy(relaxed), replies.decoding_of_array, NPY)


def generate(target: Target, chunk: Chunk, sampling: Sampling) -> Call[Generation]:
    fields = sampling.fields(chunk.start) | {"num_samples": chunk.num_rows}
    return _post(target, "generate", _json(fields), replies.generation)


def models() -> Call[list[ModelSummary]]:
    return Call("GET", "v1/models", replies.models)


def model(target: Target) -> Call[Model]:
    return Call("GET", _path(target), replies.model)


def health(state: HealthState) -> Call[bool]:
    return Call("GET", f"v2/health/{state}", replies.health)


def following(target: Target, sampling: Sampling, answered: Encoding | Generation) -> tuple[Target, Sampling]:
    """What is asked of the other chunks once the first is answered: its version, and the seed that it was drawn with.

    A version that is published meanwhile does not get into the middle of the codes.
    """
    return replace(target, version=answered.version), replace(sampling, seed=answered.seed)


def _of_rows(
    target: Target,
    action: str,
    chunk: Chunk,
    fields: Mapping[str, Any],
    read: Callable[[Reply], ResultT],
    accept: str = JSON,
) -> Call[ResultT]:
    if chunk.rows is not None:
        rows = arrays.sendable("inputs", chunk.rows, chunk.start)
        query = {name: _in_query(value) for name, value in fields.items()}
        return replace(_post(target, action, _npy(rows), read, accept), query=query)
    images = [base64.b64encode(image).decode("ascii") for image in chunk.images]
    return _post(target, action, _json({"images": images, **fields}), read, accept)


def _post(
    target: Target, action: str, body: Body, read: Callable[[Reply], ResultT], accept: str = JSON
) -> Call[ResultT]:
    return Call("POST", f"{_path(target)}/{action}", read, body, accept=accept)


def _path(target: Target) -> str:
    name = target.model
    if not isinstance(name, str) or name in ("", ".", ".."):
        raise InvalidArgument(f"model: expected the name of a model, got {name!r}")
    path = f"v1/models/{quote(name, safe='')}"
    return path if target.version is None else f"{path}/versions/{arrays.integer('version', target.version)}"


def _npy(rows: NDArray[Any]) -> Body:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(rows), version=(1, 0), allow_pickle=False)
    return Body(buffer.getvalue(), NPY)


def _json(fields: Mapping[str, Any]) -> Body:
    return Body(json.dumps(fields, allow_nan=False, separators=(",", ":")).encode(), JSON)


def _in_query(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)
