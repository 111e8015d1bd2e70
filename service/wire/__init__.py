"""Bodies: bytes from the network to parameters and arrays, and results to bytes.

    media_types     the table from media type to reader and writer, and which of them a request means
    receiving       the body's bytes, counted while they come
    json_arrays     JSON to a document whose numbers are arrays, fast, where nothing is unusual
    json_bodies     JSON to a document in all other cases, and what is wrong with it
    array_bodies    npy and raw float32 rows to a document, and an array to npy, without copies
                    (images are `service.images`' business: a document holds their files, unopened)
    parameters      a document, or a query, to a checked request
    replies         what an operation answers, and how JSON spells it

A *document* is what every reader makes of a body: a dictionary of the request's fields by name, with the rows as an
array or, where they came as JSON, as lists that `parse_numbers` and `parse_codes` make arrays of. A new media type is
one more line in the table of `media_types`.
"""

from service.wire.json_bodies import parse_codes, parse_json, parse_numbers
from service.wire.media_types import (
    JPEG,
    JSON,
    NPY,
    OCTET_STREAM,
    PNG,
    READABLE,
    READERS,
    WRITABLE,
    Body,
    reader_of,
    writer_for,
)
from service.wire.parameters import parse_request
from service.wire.receiving import read_body
from service.wire.replies import Reply, format_codes, headers_of, to_json

__all__ = [
    "JPEG",
    "JSON",
    "NPY",
    "OCTET_STREAM",
    "PNG",
    "READABLE",
    "READERS",
    "WRITABLE",
    "Body",
    "Reply",
    "format_codes",
    "headers_of",
    "parse_codes",
    "parse_json",
    "parse_numbers",
    "parse_request",
    "read_body",
    "reader_of",
    "to_json",
    "writer_for",
]
