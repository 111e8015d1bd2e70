"""What the service answers, read: a `Reply` becomes a result, or the error that it is."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latent_codes_client.errors import (
    FieldError,
    InvalidReply,
    NotAllowed,
    NotFound,
    Problem,
    RequestRefused,
    ServiceError,
    ServiceFailed,
    Unavailable,
)
from latent_codes_client.results import (
    CodeArray,
    Decoding,
    Encoding,
    Floats,
    Generation,
    Model,
    ModelSummary,
    Reconstruction,
)

NPY = "application/x-npy"
_SHOWN = 200


@dataclass(frozen=True)
class Reply:
    """A complete HTTP reply. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def encoding(reply: Reply) -> Encoding:
    return Encoding(**_encoding_fields(_document(reply)))


def encoding_of_array(reply: Reply, name: str) -> Encoding:
    """An encoding of which one array was asked for, whether it came alone or as JSON."""
    if _media_type(reply) != NPY:
        return encoding(reply)
    array = _npy(reply)
    found: dict[str, Any] = {name: _named(name, array)}
    seed = _header_integer(reply, "latent-codes-seed") if "latent-codes-seed" in reply.headers else None
    return Encoding(**_served_by_headers(reply), seed=seed, **found)


def decoding_of_array(reply: Reply) -> Decoding:
    """Outputs, whether they came alone or as JSON."""
    if _media_type(reply) != NPY:
        return decoding(reply)
    return Decoding(**_served_by_headers(reply), outputs=_as_float32("outputs", _npy(reply)))


def reconstruction(reply: Reply) -> Reconstruction:
    document = _document(reply)
    return Reconstruction(
        **_encoding_fields(document),
        outputs=_float32(document, "outputs"),
        mean_squared_error=_floats(document, "mean_squared_error"),
    )


def decoding(reply: Reply) -> Decoding:
    document = _document(reply)
    return Decoding(**_served_by(document), outputs=_float32(document, "outputs"))


def generation(reply: Reply) -> Generation:
    document = _document(reply)
    return Generation(
        **_served_by(document),
        seed=_seed(document),
        outputs=_float32(document, "outputs"),
        codes=_codes(document),
        relaxed=_float32(document, "relaxed") if "relaxed" in document else None,
    )


def models(reply: Reply) -> list[ModelSummary]:
    return [ModelSummary(**_summary_fields(document)) for document in _member(_document(reply), "models", list)]


def model(reply: Reply) -> Model:
    document = _document(reply)
    return Model(
        **_summary_fields(document),
        manifest_sha256=_member(document, "manifest_sha256", str),
        provider=_member(document, "provider", str),
        relaxation_temperature=float(_member(document, "relaxation_temperature", float, int)),
    )


def health(reply: Reply) -> bool:
    """503 is the answer "no"; any other error is one."""
    if reply.status == 503:
        return False
    _require_success(reply)
    return True


def _summary_fields(document: Any) -> dict[str, Any]:
    inputs = _member(document, "input", dict)
    kinds = {"name": str, "description": str, "kind": str, "num_latents": int, "num_categories": int, "code_bits": int}
    return {
        **{name: _member(document, name, kind) for name, kind in kinds.items()},
        "version": _member(document, "version", int, NoneType),
        "versions": tuple(_member(document, "versions", list)),
        "input_shape": tuple(_member(inputs, "shape", list)),
        "input_minimum": float(_member(inputs, "minimum", float, int)),
        "input_maximum": float(_member(inputs, "maximum", float, int)),
        "details": document,
    }


def _encoding_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    floats = {
        name: _float32(document, name) for name in ("relaxed", "probabilities", "logits", "margins") if name in document
    }
    flags = {"near_ties": np.array(document["near_ties"], np.bool_)} if "near_ties" in document else {}
    return {**_served_by(document), "seed": _seed(document), "codes": _codes(document), **floats, **flags}


def _served_by(document: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": _member(document, "model", str), "version": _member(document, "version", int)}


def _seed(document: Mapping[str, Any]) -> int | None:
    seed: int | None = _member(document, "seed", int, NoneType)
    return seed


def _member(document: Any, name: str, *kinds: type) -> Any:
    """A member of a JSON object, which must be there and of one of these types."""
    if not isinstance(document, dict) or name not in document:
        raise InvalidReply(f"{name}: expected in the reply, got {_shown(document)}")
    if type(document[name]) not in kinds:
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise InvalidReply(f"{name}: expected {expected} in the reply, got {_shown(document[name])}")
    return document[name]


def _shown(value: Any) -> str:
    return (
        f"an object with {', '.join(sorted(value))[:_SHOWN] or 'nothing'}"
        if isinstance(value, dict)
        else f"{value!r:.60}"
    )


def _codes(document: Mapping[str, Any]) -> CodeArray | None:
    return _as_codes(_array(document, "codes")) if "codes" in document else None


def _as_codes(codes: NDArray[Any]) -> CodeArray:
    if codes.dtype.kind not in "iuU":
        raise InvalidReply(f"codes: expected integers or strings in the reply, got {codes.dtype}")
    return codes if codes.dtype.kind == "U" else codes.astype(np.int64)


def _floats(document: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    floats = _array(document, name)
    _require_numbers(name, floats)
    return floats.astype(np.float64, copy=False)


def _float32(document: Mapping[str, Any], name: str) -> Floats:
    return _as_float32(name, _array(document, name))


def _named(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """An array of an encoding, of the dtype that it has there."""
    match name:
        case "codes":
            return _as_codes(array)
        case "near_ties":
            if array.dtype != np.bool_:
                raise InvalidReply(f"near_ties: expected truth values in the reply, got {array.dtype}")
            return array
        case _:
            return _as_float32(name, array)


def _as_float32(name: str, array: NDArray[Any]) -> Floats:
    _require_numbers(name, array)
    return array.astype(np.float32, copy=False)


def _require_numbers(name: str, array: NDArray[Any]) -> None:
    if array.dtype.kind not in "fiu":
        raise InvalidReply(f"{name}: expected numbers in the reply, got {array.dtype}")


def _npy(reply: Reply) -> NDArray[Any]:
    _require_success(reply)
    try:
        array: NDArray[Any] = np.load(io.BytesIO(reply.content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InvalidReply(f"expected an array in .npy, got what is none: {error}") from None
    return array


def _served_by_headers(reply: Reply) -> dict[str, Any]:
    if "latent-codes-model" not in reply.headers:
        raise InvalidReply("Latent-Codes-Model: expected among the headers of the reply")
    return {"model": reply.headers["latent-codes-model"], "version": _header_integer(reply, "latent-codes-version")}


def _header_integer(reply: Reply, name: str) -> int:
    text = reply.headers.get(name, "")
    if not (text.isascii() and text.isdecimal()):
        raise InvalidReply(f"{name.title()}: expected an integer among the headers of the reply, got {text!r:.60}")
    return int(text)


def _array(document: Mapping[str, Any], name: str) -> NDArray[Any]:
    try:
        return np.asarray(_member(document, name, list))
    except ValueError:
        raise InvalidReply(f"{name}: expected rows of one length in the reply") from None


def _document(reply: Reply) -> dict[str, Any]:
    _require_success(reply)
    document = _json_object(reply)
    if document is None:
        raise InvalidReply(
            f"expected a JSON object, got {_media_type(reply) or 'no content type'}: {_beginning(reply.content)}; "
            "is this the address of the service?"
        )
    return document


def _require_success(reply: Reply) -> None:
    if 200 <= reply.status < 300:
        return
    if reply.status < 400:
        to = reply.headers.get("location", "nowhere")
        raise InvalidReply(f"expected an answer, got a redirection ({reply.status}) to {to:.{_SHOWN}}")
    raise _service_error(reply)


def _service_error(reply: Reply) -> ServiceError:
    kind: type[ServiceError]
    match reply.status:
        case 401 | 403:
            kind = NotAllowed
        case 404:
            kind = NotFound
        case 429 | 503:
            kind = Unavailable
        case status if status < 500:
            kind = RequestRefused
        case _:
            kind = ServiceFailed
    return kind(_problem(reply), retry_after_seconds=_retry_after(reply))


def _problem(reply: Reply) -> Problem:
    request_id = reply.headers.get("x-request-id")
    document = _json_object(reply) if _media_type(reply) == "application/problem+json" else None
    if document is None:
        # Not the service's own: perhaps a proxy's.
        return Problem(reply.status, detail=_beginning(reply.content) or None, request_id=request_id)
    listed = document.get("errors")
    fields = [document, *(listed if isinstance(listed, list) else [])]
    errors = [
        FieldError(entry["field"], str(entry.get("expected", "")), str(entry.get("received", "")))
        for entry in fields
        if isinstance(entry, dict) and isinstance(entry.get("field"), str)
    ]
    return Problem(
        reply.status,
        type=_text(document, "type") or "about:blank",
        title=_text(document, "title"),
        detail=_text(document, "detail"),
        request_id=_text(document, "request_id") or request_id,
        errors=tuple(dict.fromkeys(errors)),
    )


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) else None


def _retry_after(reply: Reply) -> float | None:
    try:
        seconds = float(reply.headers.get("retry-after", ""))
    except ValueError:  # absent, or a date
        return _seconds_until(reply.headers.get("retry-after", ""))
    return seconds if 0 <= seconds < float("inf") else None


def _seconds_until(date: str) -> float | None:
    try:
        when = parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0.0, (when - datetime.now(when.tzinfo)).total_seconds())


def _json_object(reply: Reply) -> dict[str, Any] | None:
    try:
        document = json.loads(reply.content)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _media_type(reply: Reply) -> str:
    return reply.headers.get("content-type", "").partition(";")[0].strip().lower()


def _beginning(content: bytes) -> str:
    text = " ".join(content[: 4 * _SHOWN].decode(errors="replace").split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
