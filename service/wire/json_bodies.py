"""JSON to a document, and the lists in it to arrays: for whatever `json_arrays` leaves, and for every error.

JSON is read by orjson straight into lists, whose numbers are checked by type, a row at a time, and turned into one
array: validating each number for itself costs more than encoding it. What a value may be is `checks`' to say; that it
is a number at all, and that rows have the right shape, is said here, where a ragged list can still be named.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models import codes as code_layouts
from models.codes import Codes
from models.errors import CodeError
from models.manifest import Manifest
from service.checks import code_expected, place, row_expected
from service.errors import MalformedBody, invalid, shown
from service.schemas import CodeFormat
from service.wire.parameters import field_path


def parse_json(body: bytes) -> Any:
    """The document. Raises MalformedBody, or InvalidFields when all that is wrong is a NaN or an infinite number.

    orjson refuses those as the JSON grammar does; the standard library reads them, so that the field can be named.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        malformed = MalformedBody(f"the body is not valid JSON: {str(error)[:200]}")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise malformed from None
    found = _first_not_finite(document)
    if found is None:
        raise malformed
    raise invalid(found[0], "a finite number", shown(found[1]))


def parse_numbers(value: Any, field: str, row_shape: Sequence[int]) -> NDArray[Any]:
    """A list of rows, all flat or all of `row_shape`, to an array [B, D] or [B, *row_shape]; an array as it is.

    Raises InvalidFields naming the first row whose shape, or value whose type, is another.
    """
    if isinstance(value, np.ndarray):
        return value
    flat, shape = _flatten(value, field, row_shape, {int, float}, "a number")
    return np.array(flat, np.float64).reshape(shape)


def parse_codes(value: Any, code_format: CodeFormat, manifest: Manifest) -> NDArray[np.integer[Any]]:
    """Codes [B, N] from lists of integers or from strings of packed bits; an array as it is. Raises InvalidFields."""
    if isinstance(value, np.ndarray):
        return value
    if code_format != "indices":
        return _unpack(value, code_format, manifest)
    flat, shape = _flatten(value, "codes", (manifest.num_latents,), {int}, code_expected(manifest))
    try:
        return np.array(flat, np.int64).reshape(shape)
    except OverflowError:
        position = next(index for index, number in enumerate(flat) if number >= 1 << 63)
        where = divmod(position, manifest.num_latents)
        raise invalid(f"codes{place(where)}", code_expected(manifest), shown(flat[position])) from None


def _flatten(
    value: Any, field: str, row_shape: Sequence[int], types: set[type], expected: str
) -> tuple[list[Any], tuple[int, ...]]:
    """All numbers in one list, and the shape they came in."""
    if type(value) is not list:
        raise invalid(field, f"a list of rows, each of shape {row_expected(row_shape)}", shown(value))
    if not value:
        raise invalid(field, "at least one row", "an empty list")
    nested = type(value[0]) is list and bool(value[0]) and type(value[0][0]) is list
    shape = tuple(row_shape) if nested else (math.prod(row_shape),)
    flat: list[Any] = []
    for index, row in enumerate(value):
        _flatten_row(row, shape, flat, types, (field, index), (row_expected(row_shape), expected))
    return flat, (len(value), *shape)


def _flatten_row(
    row: Any,
    shape: Sequence[int],
    flat: list[Any],
    types: set[type],
    at: tuple[Any, ...],
    expected: tuple[str, str],
) -> None:
    field, *where = at
    if type(row) is not list or len(row) != shape[0]:
        inside = f" (a row has the shape {expected[0]})"
        raise invalid(f"{field}{place(where)}", f"a list of {shape[0]}{inside}", shown(row))
    if len(shape) > 1:
        for index, part in enumerate(row):
            _flatten_row(part, shape[1:], flat, types, (*at, index), expected)
        return
    if not types.issuperset(map(type, row)):
        index = next(index for index, number in enumerate(row) if type(number) not in types)
        raise invalid(f"{field}{place((*where, index))}", expected[1], shown(row[index]))
    flat.extend(row)


def _unpack(value: Any, code_format: CodeFormat, manifest: Manifest) -> Codes:
    layout = manifest.layout
    digits = f"{2 * layout.num_bytes} hex digits" if code_format == "hex" else f"base64 of {layout.num_bytes} bytes"
    expected = f"a string: {digits}, {layout.num_latents} values in 0..{layout.num_categories - 1} as packed bits"
    if type(value) is not list:
        raise invalid("codes", f"a list of rows, each {expected}", shown(value))
    if not value:
        raise invalid("codes", "at least one row", "an empty list")
    read = code_layouts.from_hex if code_format == "hex" else code_layouts.from_base64
    for index, text in enumerate(value):
        if type(text) is not str:
            raise invalid(f"codes[{index}]", expected, shown(text))
    try:
        return read(value, layout)
    except CodeError:
        for index, text in enumerate(value):
            try:
                read([text], layout)
            except CodeError:
                raise invalid(f"codes[{index}]", expected, shown(text)) from None
        raise


def _first_not_finite(document: Any) -> tuple[str, float] | None:
    """Path and value of the first number that is NaN or infinite, in the order of the text.

    Keeps only the way down to where it looks, so that a long document costs no more memory than it has.
    """
    way: list[tuple[Any, Iterator[tuple[Any, Any]]]] = [("body", iter([("body", document)]))]
    while way:
        for key, value in way[-1][1]:
            if isinstance(value, float) and not math.isfinite(value):
                return field_path([*(step for step, _ in way[1:]), key][1:]) or "body", value
            if isinstance(value, dict | list):
                way.append((key, iter(value.items() if isinstance(value, dict) else enumerate(value))))
                break
        else:
            way.pop()
    return None
