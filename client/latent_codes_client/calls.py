"""What the client sends: one `Call` for each thing that the service does, without sending it.

Both clients send these, so that they cannot differ. Arguments are checked as far as no service could accept them;
what only the model knows (how many values an input has, in which range) is the service's to say.
"""

import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latent_codes_client import replies
from latent_codes_client.errors import InvalidArgument
from latent_codes_client.replies import Reply
from latent_codes_client.results import Decoding, Encoding, Generation, Model, ModelSummary, Reconstruction

CodeFormat = Literal["indices", "hex", "base64"]
Output = Literal["codes", "relaxed", "probabilities", "logits", "margins"]
HealthState = Literal["live", "ready"]

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


def encode(
    model: str,
    inputs: ArrayLike,
    *,
    temperature: float,
    relaxation_temperature: float | None,
    seed: int | None,
    num_samples: int,
    outputs: Sequence[Output],
    code_format: CodeFormat,
    version: int | None,
) -> Call[Encoding]:
    fields = {
        "inputs": _rows("inputs", inputs),
        "num_samples": _integer("num_samples", num_samples),
        **_sampling(temperature, relaxation_temperature, seed, outputs, code_format),
    }
    return _post(model, version, "encode", fields, replies.encoding)


def reconstruct(
    model: str,
    inputs: ArrayLike,
    *,
    temperature: float,
    relaxation_temperature: float | None,
    seed: int | None,
    num_samples: int,
    outputs: Sequence[Output],
    code_format: CodeFormat,
    version: int | None,
) -> Call[Reconstruction]:
    fields = {
        "inputs": _rows("inputs", inputs),
        "num_samples": _integer("num_samples", num_samples),
        **_sampling(temperature, relaxation_temperature, seed, outputs, code_format),
    }
    return _post(model, version, "reconstruct", fields, replies.reconstruction)


def decode(
    model: str,
    codes: ArrayLike | Sequence[str] | None,
    *,
    relaxed: ArrayLike | None,
    code_format: CodeFormat,
    version: int | None,
) -> Call[Decoding]:
    fields: dict[str, Any]
    if relaxed is not None and codes is None:
        if code_format != "indices":
            raise InvalidArgument(f"code_format: expected none with relaxed codes, got {code_format!r}")
        fields = {"relaxed": _rows("relaxed", relaxed)}
    elif codes is not None and relaxed is None:
        fields = {"codes": _codes(codes, code_format), "code_format": code_format}
    else:
        raise InvalidArgument(f"expected either codes or relaxed, got {'neither' if codes is None else 'both'}")
    return _post(model, version, "decode", fields, replies.decoding)


def generate(
    model: str,
    num_samples: int,
    *,
    temperature: float,
    relaxation_temperature: float | None,
    seed: int | None,
    outputs: Sequence[Output],
    code_format: CodeFormat,
    version: int | None,
) -> Call[Generation]:
    fields = {
        "num_samples": _integer("num_samples", num_samples),
        **_sampling(temperature, relaxation_temperature, seed, outputs, code_format),
    }
    return _post(model, version, "generate", fields, replies.generation)


def models() -> Call[list[ModelSummary]]:
    return Call("GET", "v1/models", replies.models)


def model(name: str, version: int | None) -> Call[Model]:
    return Call("GET", _model_path(name, version), replies.model)


def health(state: HealthState) -> Call[bool]:
    return Call("GET", f"v2/health/{state}", replies.health)


def _post(
    model: str, version: int | None, action: str, fields: Mapping[str, Any], read: Callable[[Reply], ResultT]
) -> Call[ResultT]:
    return Call("POST", f"{_model_path(model, version)}/{action}", read, _body(fields))


def _model_path(name: str, version: int | None) -> str:
    if not isinstance(name, str) or name in ("", ".", ".."):
        raise InvalidArgument(f"model: expected the name of a model, got {name!r}")
    path = f"v1/models/{quote(name, safe='')}"
    return path if version is None else f"{path}/versions/{_integer('version', version)}"


def _body(fields: Mapping[str, Any]) -> Body:
    """The one place that chooses how arrays travel. Fields that are None are left to the service."""
    document = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in fields.items()
        if value is not None
    }
    return Body(json.dumps(document, allow_nan=False, separators=(",", ":")).encode(), "application/json")


def _sampling(
    temperature: float,
    relaxation_temperature: float | None,
    seed: int | None,
    outputs: Sequence[str],
    code_format: CodeFormat,
) -> dict[str, Any]:
    if isinstance(outputs, str):
        raise InvalidArgument(f"outputs: expected a sequence of names, got the string {outputs!r}")
    return {
        "temperature": _number("temperature", temperature),
        "relaxation_temperature": None
        if relaxation_temperature is None
        else _number("relaxation_temperature", relaxation_temperature),
        "seed": None if seed is None else _integer("seed", seed),
        "outputs": list(outputs),
        "code_format": code_format,
    }


def _number(name: str, value: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgument(f"{name}: expected a number, got {value!r:.60}") from None
    if not math.isfinite(number):
        raise InvalidArgument(f"{name}: expected a finite number, got {number}")
    return number


def _integer(name: str, value: int) -> int:
    if isinstance(value, bool | np.bool_):
        raise InvalidArgument(f"{name}: expected an integer, got {value}")
    try:
        return operator.index(value)
    except TypeError:
        raise InvalidArgument(f"{name}: expected an integer, got {value!r:.60}") from None


def _rows(name: str, values: ArrayLike) -> NDArray[Any]:
    """Rows of finite real numbers, [B, ...] with B at least 1."""
    rows = _array(name, values)
    if rows.dtype.kind not in "fiub":
        raise InvalidArgument(f"{name}: expected an array of real numbers, got {_described(rows)}")
    if rows.ndim < 2:
        raise InvalidArgument(
            f"{name}: expected rows, [B, ...], got {_described(rows)}; a single one is given as {name}[None]"
        )
    _require_rows(name, rows)
    if rows.dtype.kind == "b":
        return rows.astype(np.uint8)
    if rows.dtype.itemsize > 8:  # long doubles, which JSON's writer does not know
        rows = rows.astype(np.float64)
    if not np.isfinite(rows).all():
        where = tuple(int(axis) for axis in np.argwhere(~np.isfinite(rows))[0])
        raise InvalidArgument(f"{name}: expected finite numbers, got {rows[where]} at {list(where)}")
    return rows


def _codes(values: ArrayLike | Sequence[str], code_format: CodeFormat) -> NDArray[Any]:
    """Integers [B, N], or strings [B] if the format says so."""
    codes = _array("codes", values)
    if code_format == "indices":
        expected, kinds, num_axes = "integers [B, N] (strings go with code_format 'hex' or 'base64')", "iub", 2
    else:
        expected, kinds, num_axes = f"strings [B], as code_format is {code_format!r}", "U", 1
    if codes.dtype.kind not in kinds or codes.ndim != num_axes:
        raise InvalidArgument(f"codes: expected {expected}, got {_described(codes)}")
    _require_rows("codes", codes)
    return codes.astype(np.uint8) if codes.dtype.kind == "b" else codes


def _array(name: str, values: ArrayLike | Sequence[str]) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        # Rows of different lengths, or a tensor that is not in this computer's memory.
        raise InvalidArgument(f"{name}: expected an array: {error}") from error


def _require_rows(name: str, rows: NDArray[Any]) -> None:
    if len(rows) == 0:
        raise InvalidArgument(f"{name}: expected at least one row, got {_described(rows)}")


def _described(array: NDArray[Any]) -> str:
    return f"{array.dtype} of shape {list(array.shape)}"
