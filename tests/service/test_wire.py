"""Bodies that are arrays, what a query may say, and which type a request means."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.errors import InvalidFields, MalformedArray, MediaTypeRefused, ReplyTypeRefused
from service.wire import JSON, NPY, OCTET_STREAM, WRITABLE, reader_of, writer_for
from service.wire.array_bodies import read_npy, read_rows, write_npy
from service.wire.parameters import parse_query

DTYPES = ["<f4", ">f4", "<f8", "<f2", "u1", "<u2", ">i4", "<i8"]


@given(st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(max_dims=4))))
def test_an_npy_body_is_the_array_it_was_written_from(array: np.ndarray) -> None:
    for given_array in (array, np.asfortranarray(array)):
        read = read_npy(npy(given_array))
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)
    np.testing.assert_array_equal(read_npy(write_npy(array)), array)


def test_an_array_is_read_where_it_lies() -> None:
    content = npy(np.ones((4, 8), np.float32))
    assert not read_npy(content).flags.owndata
    assert not read_rows(content[-128:], "inputs", (8,)).flags.owndata


def npy(array: np.ndarray) -> bytes:
    stream = BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


GOOD = npy(np.ones((2, 3), np.float32))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"PK\x03\x04 an npz file",
        GOOD[:-1],
        GOOD + b"\0",
        GOOD[:6] + b"\x03\x00" + GOOD[8:],
        GOOD[:6] + b"\x09\x00" + GOOD[8:],
        GOOD[:8] + b"\xff\xff" + GOOD[10:],
        GOOD.replace(b"(2, 3)", b"(-2,3)"),
        GOOD.replace(b"(2, 3)", b"(2, x)"),
        GOOD.replace(b"<f4", b"|V4"),
        npy(np.array([None, {}])),
        npy(np.array(["a", "b"])),
        npy(np.array([True])),
        npy(np.array([1j])),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_no_npy_of_numbers_is_refused_as_such(content: bytes) -> None:
    with pytest.raises(MalformedArray):
        read_npy(content)


@pytest.mark.parametrize("size", [0, 1, 31, 33, 47])
def test_raw_rows_must_be_whole(size: int) -> None:
    with pytest.raises(
        InvalidFields, match=rf"inputs: expected one or more rows of shape \[8\] .* received {size} bytes"
    ):
        read_rows(bytes(size), "inputs", (8,))


@pytest.mark.parametrize(
    ("query", "document"),
    [
        (b"", {}),
        (b"temperature=0.5&seed=7", {"temperature": 0.5, "seed": 7}),
        (b"outputs=codes,margins&code_format=hex", {"outputs": ["codes", "margins"], "code_format": "hex"}),
        (b"temperature=NaN", {"temperature": "NaN"}),
        (b"temperature=true", {"temperature": "true"}),
        (b"temperature=", {"temperature": ""}),
        (b"t%C3%A4=%22x%22", {"tä": '"x"'}),
    ],
)
def test_a_query_is_a_document_of_numbers_texts_and_lists(query: bytes, document: dict[str, Any]) -> None:
    assert parse_query(query) == document


@pytest.mark.parametrize("query", [b"seed=1&seed=2", b"%ff=1", b"a=1&" * 40])
def test_a_query_that_is_ambiguous_or_endless_is_refused(query: bytes) -> None:
    with pytest.raises(InvalidFields):
        parse_query(query)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/x-npy", NPY),
        ("application/x-npy;q=0.5, application/json;q=0.4", NPY),
        ("application/x-npy;q=0.5, */*;q=0.6", JSON),
        ("Application/X-NPY", NPY),
        ("application/json;q=0, */*", NPY),
        ("text/html, application/x-npy;q=nonsense, */*;q=0.1", JSON),
    ],
)
def test_the_type_of_the_reply_is_the_one_that_accept_likes_best(accept: str, media_type: str) -> None:
    assert writer_for(accept, WRITABLE)[0] == media_type


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "image/*"])
def test_a_reply_of_another_type_is_not_written(accept: str) -> None:
    with pytest.raises(ReplyTypeRefused, match="application/json"):
        writer_for(accept, (JSON, NPY))


def test_a_body_of_another_type_is_not_read() -> None:
    assert reader_of("application/octet-stream") is reader_of("Application/Octet-Stream; x=y", (JSON, OCTET_STREAM))
    with pytest.raises(MediaTypeRefused, match=r"expected application/json, received 'application/x-npy'"):
        reader_of("application/x-npy", (JSON,))
