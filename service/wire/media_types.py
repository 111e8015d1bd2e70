"""The table from media type to reader and writer.

A reader makes a document of a body; a writer makes bytes of a reply. Which one a request means is said by
Content-Type and Accept. To read or write another type, add a line to READERS or WRITERS.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from models.manifest import Manifest
from service import images
from service.errors import MediaTypeRefused, ReplyTypeRefused, quoted
from service.exchange import Content
from service.wire import array_bodies, json_arrays, json_bodies
from service.wire.json_arrays import ArrayField
from service.wire.parameters import parse_query, with_query
from service.wire.replies import Reply, to_json

JSON = "application/json"
NPY = "application/x-npy"
OCTET_STREAM = "application/octet-stream"
PNG = "image/png"
JPEG = "image/jpeg"


class Body(NamedTuple):
    """What a reader gets to see of a request."""

    content: Content
    query: bytes
    operation: str
    """`encode`, `decode`, `reconstruct` or `generate`."""
    manifest: Manifest
    """Of the model that the request means."""


Reader = Callable[[Body], Any]
"""A body to its document. Raises BodyRefused or InvalidFields."""

Writer = Callable[[Reply], bytes]
"""A reply to the bytes of its body."""


def _read_json(body: Body) -> Any:
    content = bytes(body.content)
    document = json_arrays.parse(content, _array_fields(body, content))
    if document is None:
        document = json_bodies.parse_json(content)
    return with_query(document, body.query) if body.query else document


def _array_fields(body: Body, content: bytes) -> Mapping[str, ArrayField]:
    manifest = body.manifest
    match body.operation:
        case "generate":
            return {}
        case "decode":
            relaxed = {"relaxed": ArrayField("d", manifest.latent_shape)}
            # Where a format is named, codes may have to be strings, and lists an error.
            if b"code_format" in content or b"code_format" in body.query:
                return relaxed
            return relaxed | {"codes": ArrayField("i", (manifest.num_latents,))}
        case _:
            return {"inputs": ArrayField("d", manifest.input.shape)}


def _read_npy(body: Body) -> Any:
    array = array_bodies.read_npy(body.content)
    field = "inputs" if body.operation != "decode" else "relaxed" if array.dtype.kind == "f" else "codes"
    return parse_query(body.query) | {field: array}


def _read_rows(body: Body) -> Any:
    if body.operation == "decode":
        rows = array_bodies.read_rows(body.content, "relaxed", body.manifest.latent_shape)
        return parse_query(body.query) | {"relaxed": rows}
    rows = array_bodies.read_rows(body.content, "inputs", body.manifest.input.shape)
    return parse_query(body.query) | {"inputs": rows}


def _read_image(body: Body) -> Any:
    # Which of the two it is, its bytes say when it is opened.
    return parse_query(body.query) | {"images": [images.File("body", bytes(body.content))]}


def _write_json(reply: Reply) -> bytes:
    return to_json(reply.fields)


def _write_npy(reply: Reply) -> bytes:
    return array_bodies.write_npy(reply.fields[reply.array])


def _write_png(reply: Reply) -> bytes:
    return images.to_png(reply.fields[reply.array], reply.manifest.input)


READERS: dict[str, Reader] = {
    JSON: _read_json,
    NPY: _read_npy,
    OCTET_STREAM: _read_rows,
    PNG: _read_image,
    JPEG: _read_image,
}
WRITERS: dict[str, Writer] = {JSON: _write_json, NPY: _write_npy, PNG: _write_png}

READABLE, WRITABLE = tuple(READERS), tuple(WRITERS)


@lru_cache(maxsize=256)
def reader_of(content_type: str, readable: Sequence[str] = READABLE) -> Reader:
    """The reader that a Content-Type means. Raises MediaTypeRefused unless it is one of `readable`."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in readable:
        raise MediaTypeRefused(
            f"Content-Type: expected {' or '.join(readable)}, received {quoted(media_type) if media_type else 'none'}"
        )
    return READERS[media_type]


@lru_cache(maxsize=256)
def writer_for(accept: str, writable: Sequence[str] = WRITABLE) -> tuple[str, Writer]:
    """The media type, of those `writable`, that an Accept header likes best, and its writer.

    Of those liked as well the first is taken; without a header, that is the first of all (RFC 9110, section 12.5.1).
    Raises ReplyTypeRefused.
    """
    if not accept.strip():
        accept = "*/*"
    liking = {media_type: _quality(media_type, accept) for media_type in writable}
    best = max(liking, key=lambda media_type: liking[media_type])
    if liking[best] <= 0:
        raise ReplyTypeRefused(f"Accept: expected {' or '.join(writable)}, received {quoted(accept)}")
    return best, WRITERS[best]


def _quality(media_type: str, accept: str) -> float:
    """What the most specific range of `accept` that holds `media_type` says of it, 0 to 1."""
    ranges = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
        try:
            ranges[name] = float(weights[0]) if weights else 1.0
        except ValueError:
            ranges[name] = 0.0
    for name in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0
