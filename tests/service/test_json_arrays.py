"""Arrays out of JSON text: the fast reading gives what the slow one gives, or nothing."""

import json
import time
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ServiceError
from service.wire import parse_json, parse_numbers
from service.wire.json_arrays import ArrayField, parse

SHAPE = (2, 3)
FIELDS = {"inputs": ArrayField("d", SHAPE), "codes": ArrayField("i", (4,))}


def assert_agrees(content: bytes) -> dict[str, Any] | None:
    """Where there is a fast answer, the slow reading gives the same one, to the last bit."""
    found = parse(content, FIELDS)
    if found is not None:
        slow = parse_json(content)
        assert found.keys() == slow.keys()
        for name, value in found.items():
            if name == "inputs":
                expected = parse_numbers(slow[name], name, SHAPE)
                assert value.dtype == np.float64
                np.testing.assert_array_equal(value, expected, strict=True)
            elif name == "codes":
                assert value.dtype == np.int64
                assert value.tolist() == slow[name]
            else:
                assert value == slow[name]
                assert type(value) is type(slow[name])
    return found


@settings(max_examples=300)
@given(
    st.lists(
        st.lists(
            st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1), min_size=6, max_size=6
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
    st.integers(0, 2**64 - 1),
)
def test_numbers_of_any_size_are_read_to_the_last_bit(rows: list[list[Any]], is_nested: bool, seed: int) -> None:
    given_rows = [[row[:3], row[3:]] for row in rows] if is_nested else rows
    document = {"seed": seed, "inputs": given_rows, "outputs": ["codes", "margins"], "temperature": 0.5}
    found = assert_agrees(json.dumps(document).encode())
    assert found is not None
    assert found["inputs"].shape == (len(rows), *(SHAPE if is_nested else (6,)))


def test_integers_are_read_as_such() -> None:
    found = assert_agrees(b'{"codes": [[1, -2, 9223372036854775807, 0]], "code_format": "indices"}')
    assert found is not None


FLAT = "[1, 2, 3, 4, 5, 6]"


@pytest.mark.parametrize(
    "text",
    [
        f'{{"inputs": [{FLAT}, [1, 2, 3]]}}',
        '{"inputs": [[1, 2, 3, 4, 5, [6]]]}',
        '{"inputs": [[1, 2, 3, 4, 5, [6, 7]], [1, 2, 3, 4, 5]]}',
        '{"inputs": [[[1, 2, 3], [4, 5, 6, 7]]]}',
        f'{{"inputs": [{FLAT}, [[1, 2, 3], [4, 5, 6]]]}}',
        '{"inputs": [[true, 2, 3, 4, 5, 6]]}',
        '{"inputs": [["1", 2, 3, 4, 5, 6]]}',
        '{"inputs": [[null, 2, 3, 4, 5, 6]]}',
        '{"inputs": [[{}, 2, 3, 4, 5, 6]]}',
        '{"inputs": [[NaN, 2, 3, 4, 5, 6]]}',
        '{"inputs": [[1e400, 2, 3, 4, 5, 6]]}',
        f'{{"inputs": [[{10**30}, 2, 3, 4, 5, 6]]}}',
        '{"inputs": []}',
        '{"inputs": [[]]}',
        '{"inputs": [1]}',
        '{"inputs": 1}',
        '{"inputs": {"0": 1}}',
        f'{{"inputs": [{FLAT}], "inputs": [{FLAT}]}}',
        f'{{"inputs": [{FLAT}], "extra": {{"a": 1}}}}',
        f'{{"inputs": [{FLAT}], "extra": [1]}}',
        f'{{"inputs": [{FLAT}], "extra": "["}}',
        f'{{"inputs": [{FLAT}]}} x',
        f'\ufeff{{"inputs": [{FLAT}]}}',
        f'{{"inputs": [{FLAT}]',
        '{"codes": [[1, 2, 3, 4.0]]}',
        '{"codes": [[1, 2, 3, 9223372036854775808]]}',
        '{"codes": ["00ff"]}',
        '{"temperature": 1}',
        f"[{FLAT}]",
        '"inputs"',
        "",
        "[" * 100_000,
    ],
)
def test_whatever_is_unusual_is_left_to_the_slow_reading(text: str) -> None:
    assert parse(text.encode(), FIELDS) is None


@settings(max_examples=300)
@given(st.data())
def test_a_text_that_was_damaged_is_read_as_the_slow_reading_reads_it(data: st.DataObject) -> None:
    text = bytearray(orjson.dumps({"inputs": [[0.5, 1, 2, 3, 4, 5.25]] * 2, "outputs": ["codes"], "seed": 7}))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place] = data.draw(st.sampled_from(b'[]{},:"019.-e \\tfn'))
    try:
        assert_agrees(bytes(text))
    except ServiceError as error:
        pytest.fail(f"only the fast reading takes {bytes(text)!r}: {error}")


def test_a_parser_is_used_again_after_a_text_that_it_refused() -> None:
    good = f'{{"inputs": [{FLAT}]}}'.encode()
    for bad in (b'{"inputs": [[1, 2]]}', b'{"inputs": [[true]]}', b"{", good):
        parse(bad, FIELDS)
        assert parse(good, FIELDS) is not None


def test_many_names_take_no_time() -> None:
    """Each is looked up among all: 50,000 took nine seconds of the event loop."""
    content = orjson.dumps({"inputs": [[1, 2, 3, 4, 5, 6]]} | {f"name{number}": 0 for number in range(50_000)})
    began = time.process_time()
    assert parse(content, FIELDS) is None
    assert time.process_time() - began < 1


def test_long_texts_are_read_too() -> None:
    rows = [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]] * 30_000
    found = parse(orjson.dumps({"inputs": rows}), FIELDS)
    assert found is not None
    np.testing.assert_array_equal(found["inputs"], rows)
