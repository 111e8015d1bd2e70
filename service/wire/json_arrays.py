"""Arrays straight out of JSON text, without a Python object for each number: what nearly every body is.

simdjson (Langdale and Lemire 2019, "Parsing gigabytes of JSON per second", arXiv:1902.08318) writes the numbers of a
whole array into one buffer. It takes lists of any depth for that, so the shape is told from the rows' lengths and from
the number of opening brackets in the text. Whatever is not as expected, here is no answer: the slower reading of
`json_bodies` has to name what is wrong, and decides about everything that is unusual.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import simdjson
from numpy.typing import NDArray

_BRACKET = ord("[")
_FEW_BRACKETS = 16
"""Up to here they are sooner found one by one than counted by numpy, which has to be called three times."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_KEPT_PARSER_BYTES = 1 << 19
"""A parser keeps about 15 times the length of the longest text that it has seen; longer ones get one of their own."""

_MAX_NAMES = 32
"""simdjson looks a name up by going through all of them, which takes seconds where there are 50,000."""

_DTYPES = {"d": np.float64, "i": np.int64}


class ArrayField(NamedTuple):
    """Rows of numbers that a document may have under some name."""

    numbers: Literal["d", "i"]
    """d: any numbers, to float64. i: integers, to int64."""
    row_shape: Sequence[int]
    """Rows come in this shape, or flat."""


def parse(content: bytes, fields: Mapping[str, ArrayField]) -> dict[str, Any] | None:
    """The document that `content` is, an object with at least one of `fields`, each as an array [B, D] or
    [B, *row_shape]; None where it is anything else, or not valid.
    """
    if not fields or content.startswith(_BYTE_ORDER_MARK):
        return None  # simdjson would skip the mark, which JSON must not have
    if len(content) <= _KEPT_PARSER_BYTES:
        return _read(_kept.parser, content, fields)
    return _read(simdjson.Parser(), content, fields)


class _Kept(threading.local):
    """A parser can be used by one thread at a time."""

    def __init__(self) -> None:
        self.parser = simdjson.Parser()


_kept = _Kept()


def _read(parser: simdjson.Parser, content: bytes, fields: Mapping[str, ArrayField]) -> dict[str, Any] | None:
    try:
        document = parser.parse(content)
        if type(document) is not simdjson.Object or len(document) > _MAX_NAMES:
            return None
        found: dict[str, Any] = {}
        num_arrays = num_brackets = 0
        for name in list(document):
            if name in found:
                return None
            value = document[name]
            if name in fields:
                found[name], inside = _array(value, fields[name])
                num_arrays += 1
            else:
                found[name], inside = _parameter(value)
            num_brackets += inside
    except (ValueError, TypeError, LookupError, RuntimeError):
        return None
    # A list in a number's place would have been flattened into the array; its bracket is one too many.
    return found if num_arrays and _has_open_brackets(content, num_brackets) else None


def _has_open_brackets(content: bytes, number: int) -> bool:
    """Whether there are exactly so many."""
    if number > _FEW_BRACKETS:
        return int(np.count_nonzero(np.frombuffer(content, np.uint8) == _BRACKET)) == number
    place = -1
    for _ in range(number):
        place = content.find(_BRACKET, place + 1)
        if place < 0:
            return False
    return content.find(_BRACKET, place + 1) < 0


def _array(value: Any, field: ArrayField) -> tuple[NDArray[Any], int]:
    """The rows, and how many brackets they open. Raises ValueError, TypeError or IndexError where they are none."""
    rows = list(value)
    if type(rows[0]) is not simdjson.Array:
        raise TypeError("numbers in the place of rows")
    if type(rows[0][0]) is simdjson.Array:
        shape = tuple(field.row_shape)
        num_lists = sum([_num_lists(row, shape) for row in rows])
    else:
        size = math.prod(field.row_shape)
        for row in rows:
            if len(row) != size:
                raise ValueError("a row of another shape")
        shape, num_lists = (size,), len(rows)
    flat = np.frombuffer(value.as_buffer(of_type=field.numbers), _DTYPES[field.numbers])
    return flat.reshape(len(rows), *shape), 1 + num_lists


def _num_lists(row: Any, shape: Sequence[int]) -> int:
    """Of a row of that shape. Raises TypeError or ValueError where its lists are of another."""
    if len(row) != shape[0]:
        raise ValueError("a row of another shape")
    return 1 + sum(_num_lists(part, shape[1:]) for part in row) if len(shape) > 1 else 1


def _parameter(value: Any) -> tuple[Any, int]:
    """Any other value, and how many brackets it opens: none, or that of a list of strings."""
    if type(value) is simdjson.Array:
        value = value.as_list()
        if not all(type(item) is str and "[" not in item for item in value):
            raise TypeError("not a list of names")
        return value, 1
    if type(value) is simdjson.Object or (type(value) is str and "[" in value):
        raise TypeError("not a parameter")
    return value, 0
