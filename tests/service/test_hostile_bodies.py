"""Thousands of bodies that a hostile or broken client might send, binary ones above all.

Each is answered, in time and memory, with a status that is not of the server's failing, and with a short reply where it
is refused. The application runs in this process, with nothing between that would put a length or a header right. Cases
are the same at every run; HOSTILE_CASES=20000 makes more of them.
"""

import base64
import json
import os
import resource
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgi_caller import Answer, AsgiCaller
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_models import TINY_BINARY, TINY_CATEGORICAL

from service.app import create_app
from service.open_inference.datatypes import DATATYPES
from service.open_inference.metadata import OUTPUTS
from service.open_inference.schemas import InputParameters, RequestParameters
from service.problems import MAX_PROBLEM_BYTES
from service.settings import Settings

CASES = int(os.environ.get("HOSTILE_CASES", "300"))
"""Of each test."""
SECONDS = 2.0
"""Of the processor, that one answer may take. One that waits for ever runs into the test's own limit."""
GROWTH_BYTES = 64 << 20
"""That one answer may add to the peak of this process's memory; the largest body here is of 1 MB."""

pytestmark = pytest.mark.slow

INFER = "/v2/models/tiny-binary/infer"
ENCODE = "/v1/models/tiny-binary/encode"
DECODE = "/v1/models/tiny-categorical/decode"

hostile = settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@pytest.fixture(scope="module")
def call(tiny_repository: Path) -> Iterator[AsgiCaller]:
    caller = AsgiCaller(create_app(Settings(model_repositories=(tiny_repository,), device="cpu")))
    assert caller("POST", INFER, json.dumps({"inputs": []}).encode()).status == 200
    yield caller
    caller.close()


def answered(call: AsgiCaller, path: str, body: bytes, *headers: tuple[str, str], query: str = "") -> Answer:
    """The answer, which is sound whatever was asked."""
    start, peak = time.process_time(), peak_bytes()
    answer = call("POST", path, body, headers, query)
    assert time.process_time() - start < SECONDS
    assert peak_bytes() - peak < GROWTH_BYTES
    assert answer.status in (200, 400, 404, 406, 413, 415, 422, 504), answer
    if answer.status != 200:
        assert len(answer.content) <= MAX_PROBLEM_BYTES
        document = answer.json()
        if path.startswith("/v2/"):
            assert list(document) == ["error"]
        else:
            assert document["status"] == answer.status
    return answer


# The Open Inference Protocol.

NUMBERS = st.one_of(
    st.integers(-3, 70),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 2**64 + 16, -(2**63), -1, 0]),
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8), st.sampled_from([*OUTPUTS, *DATATYPES]))
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=20,
)


def or_anything(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what belongs there."""
    return st.one_of(usual, usual, usual, ANYTHING)


PARAMETERS = st.dictionaries(
    st.one_of(
        st.sampled_from([*RequestParameters.model_fields, *InputParameters.model_fields, "binary_data", "headers"]),
        st.text(max_size=5),
    ),
    LEAVES,
    max_size=3,
)
SHAPES = st.one_of(st.just([1, 16]), st.just([2, 4, 4]), st.just([1, 12]), st.lists(NUMBERS, max_size=4))


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, Any]:
    shape = draw(or_anything(SHAPES))
    tensor = {
        "name": draw(or_anything(st.sampled_from(["inputs", "codes", "relaxed"]))),
        "shape": shape,
        "datatype": draw(or_anything(st.sampled_from(["FP32", "FP16", "FP64", "UINT8", "INT64", "BYTES"]))),
    }
    size = draw(st.one_of(st.none(), st.sampled_from([64, 128, 12, 48, 96]), NUMBERS))
    if size is not None:
        tensor["parameters"] = {"binary_data_size": size} | draw(st.just({}) | PARAMETERS)
    if draw(st.booleans()):
        tensor["data"] = draw(or_anything(st.lists(st.floats(0, 1), min_size=16, max_size=16)))
    return tensor


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    request: dict[str, Any] = {"inputs": draw(or_anything(st.lists(tensors(), min_size=1, max_size=2)))}
    if draw(st.booleans()):
        names = or_anything(st.sampled_from(OUTPUTS))
        output = st.fixed_dictionaries({"name": names}, optional={"parameters": or_anything(PARAMETERS)})
        request["outputs"] = draw(or_anything(st.lists(output, max_size=9)))
    if draw(st.booleans()):
        request["parameters"] = draw(or_anything(PARAMETERS))
    if draw(st.booleans()):
        request["id"] = draw(or_anything(st.text(max_size=20)))
    return request


@hostile
@given(request=requests(), tail=st.binary(max_size=200), off_by=st.sampled_from([0, 0, 0, -1, 1, 7, -7, None]))
def test_inference_requests_of_any_kind(
    call: AsgiCaller, request: dict[str, Any], tail: bytes, off_by: int | None
) -> None:
    text = json.dumps(request).encode()
    headers = [] if off_by is None else [("Inference-Header-Content-Length", str(len(text) + off_by))]
    answered(call, INFER, text + tail, *headers)


@hostile
@given(
    rows=st.integers(1, 4),
    datatype=st.sampled_from(["FP16", "FP32", "FP64"]),
    content=st.data(),
)
def test_sound_binary_requests_of_any_bytes(call: AsgiCaller, rows: int, datatype: str, content: st.DataObject) -> None:
    """The frame is right, the numbers may be anything: in the range they are encoded, and else refused by place."""
    dtype = DATATYPES[datatype]
    size = rows * 16 * dtype.itemsize
    tail = content.draw(st.binary(min_size=size, max_size=size))
    document = {
        "inputs": [
            {"name": "inputs", "shape": [rows, 16], "datatype": datatype, "parameters": {"binary_data_size": size}}
        ],
        "outputs": [{"name": "codes", "parameters": {"binary_data": True}}],
    }
    text = json.dumps(document).encode()
    answer = answered(call, INFER, text + tail, ("Inference-Header-Content-Length", str(len(text))))
    inputs = np.frombuffer(tail, dtype).reshape(rows, 16)
    if np.isfinite(inputs).all() and inputs.min() >= 0 and inputs.max() <= 1:
        assert answer.status == 200
        length = int(answer.headers["inference-header-content-length"])
        assert len(answer.content) == length + rows * 12
        assert json.loads(answer.content[:length])["outputs"][0]["parameters"] == {"binary_data_size": rows * 12}
    else:
        assert answer.status == 400
        assert answer.json()["error"].startswith("inputs[")


@hostile
@given(
    position=st.floats(0, 1, exclude_max=True),
    replacement=st.binary(max_size=4),
    cut=st.integers(0, 4),
    length=st.one_of(st.just(None), st.integers(-5, 400), st.text(st.characters(max_codepoint=255), max_size=12)),
)
def test_a_damaged_binary_request(
    call: AsgiCaller, position: float, replacement: bytes, cut: int, length: int | str | None
) -> None:
    """A whole request, of which some bytes were replaced, left out, or put in, or whose length lies."""
    content = TINY_BINARY.inputs(1).tobytes()
    document = {"inputs": [{"name": "inputs", "shape": [1, 16], "datatype": "FP32"}], "outputs": [{"name": "codes"}]}
    document["inputs"][0]["parameters"] = {"binary_data_size": len(content)}  # type: ignore[assignment]
    text = json.dumps(document).encode()
    body = text + content
    start = int(position * len(body))
    body = body[:start] + replacement + body[start + cut :]
    claimed = str(len(text) if length is None else length)
    if claimed.isascii() and claimed.isprintable():
        answered(call, INFER, body, ("Inference-Header-Content-Length", claimed))


# Arrays.


def npy(header: bytes, content: bytes, version: tuple[int, int] = (1, 0)) -> bytes:
    length = struct.pack("<H" if version == (1, 0) else "<I", len(header) % (1 << 16))
    return b"\x93NUMPY" + bytes(version) + length + header + content


NUMBERS_AS_NPY = ("<f4", ">f4", "<f8", "<f2", "<i8", "|u1", "f", "<f16", "<c16")
NO_NUMBERS = ("|b1", "|O", "|O8", "|V8", "<U4", "|S3", "<m8[s]", "<M8[D]", "(4,)<f4", "x", "", "<f4\\n")
DTYPES = st.sampled_from([*NUMBERS_AS_NPY, *NO_NUMBERS])
DIMENSIONS = st.one_of(st.integers(-2, 20), st.sampled_from([2**31, 2**40, 2**62, 2**63, 2**64, 10**30]))


@hostile
@given(
    dtype=DTYPES,
    shape=st.one_of(st.just((1, 16)), st.just((1, 4, 4)), st.lists(DIMENSIONS, max_size=5).map(tuple)),
    order=st.booleans(),
    num_bytes=st.sampled_from([0, 1, 63, 64, 65, 128, 16, 8]),
    version=st.sampled_from([(1, 0), (2, 0), (3, 0), (0, 0), (9, 9)]),
    path=st.sampled_from([ENCODE, DECODE]),
)
def test_npy_headers_that_promise_anything(
    call: AsgiCaller,
    dtype: str,
    shape: tuple[int, ...],
    order: bool,
    num_bytes: int,
    version: tuple[int, int],
    path: str,
) -> None:
    header = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}}}".encode()
    answered(
        call, path, npy(header.ljust(118) + b"\n", bytes(num_bytes), version), ("Content-Type", "application/x-npy")
    )


@hostile
@given(header=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)), tail=st.binary(max_size=100))
def test_npy_headers_of_any_bytes(call: AsgiCaller, header: bytes, tail: bytes) -> None:
    answered(call, ENCODE, npy(header, tail), ("Content-Type", "application/x-npy"))


NPY_HEADERS = {
    "code": b"__import__('os').system('true')",
    "a-call-in-the-shape": b"{'descr': '<f4', 'fortran_order': False, 'shape': (exit(),)}",
    "very-deep": b"(" * 3000 + b")" * 3000,
    "a-shape-of-many": b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1," * 1500 + b")}",
    "an-endless-number": b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 3900 + b",)}",
    "nested-dtypes": b"{'descr': [('a', [('b', '|O')])], 'fortran_order': False, 'shape': (1,)}",
    "objects": b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 16)}",
    "another-key": b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 16), 'x': 1}",
    "no-rows": b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 16)}",
    "nothing-times-very-much": b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1000000000000000000000)}",
    "empty": b"",
}


@pytest.mark.parametrize("num_bytes", [0, 64])
@pytest.mark.parametrize("header", NPY_HEADERS.values(), ids=NPY_HEADERS)
def test_npy_headers_with_a_purpose_are_refused(call: AsgiCaller, header: bytes, num_bytes: int) -> None:
    for version in ((1, 0), (2, 0), (3, 0)):
        answer = answered(call, ENCODE, npy(header, bytes(num_bytes), version), ("Content-Type", "application/x-npy"))
        assert answer.status in (400, 422)


@hostile
@given(position=st.integers(0, 191), replacement=st.binary(min_size=1, max_size=3))
def test_a_damaged_npy_file(call: AsgiCaller, position: int, replacement: bytes) -> None:
    stream = BytesIO()
    np.save(stream, TINY_BINARY.inputs(1))
    content = bytearray(stream.getvalue())
    content[position : position + len(replacement)] = replacement
    answered(call, ENCODE, bytes(content), ("Content-Type", "application/x-npy"))


@hostile
@given(content=st.binary(max_size=300), query=st.text(st.characters(max_codepoint=127), max_size=40))
def test_raw_rows_of_any_bytes_and_queries_of_any_text(call: AsgiCaller, content: bytes, query: str) -> None:
    answered(call, ENCODE, content, ("Content-Type", "application/octet-stream"), query=query)
    answered(call, DECODE, content, ("Content-Type", "application/octet-stream"), query=query)


# Images.


def file_of(mode: str, size: tuple[int, int], file_format: str) -> bytes:
    stream = BytesIO()
    Image.linear_gradient("L").convert(mode).resize(size).save(stream, file_format)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """Of a PNG, with a sound checksum, so that what is inside is read."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 0, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width % (1 << 32), height % (1 << 32), depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def answered_with_image(call: AsgiCaller, content: bytes) -> Answer:
    """The same file as a body of its own and in JSON, once."""
    in_json = json.dumps({"images": [base64.b64encode(content).decode()]}).encode()
    answered(call, ENCODE, in_json, ("Content-Type", "application/json"))
    return answered(call, ENCODE, content, ("Content-Type", "image/png"))


FILES = [
    file_of(mode, (5, 4), file_format)
    for mode, file_format in (
        ("L", "PNG"),
        ("RGBA", "PNG"),
        ("P", "PNG"),
        ("1", "PNG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
    )
]


@hostile
@given(
    content=st.sampled_from(FILES),
    position=st.floats(0, 1, exclude_max=True),
    replacement=st.binary(max_size=5),
    cut=st.integers(0, 5),
    length=st.floats(0, 1.5),
)
def test_a_damaged_image(
    call: AsgiCaller, content: bytes, position: float, replacement: bytes, cut: int, length: float
) -> None:
    start = int(position * len(content))
    answered_with_image(call, (content[:start] + replacement + content[start + cut :])[: int(length * len(content))])


@hostile
@given(
    size=st.tuples(*[st.sampled_from([0, 1, 4, 5, 1000, 50_000, 2**31 - 1, 2**31, 2**32 - 1])] * 2),
    depth=st.sampled_from([1, 2, 4, 8, 16, 0, 3, 255]),
    colour=st.sampled_from([0, 2, 3, 4, 6, 1, 255]),
    interlace=st.integers(0, 2),
    chunks=st.lists(
        st.builds(
            chunk,
            st.sampled_from([b"IDAT", b"IDAT", b"PLTE", b"tRNS", b"zTXt", b"iCCP", b"iTXt", b"acTL", b"fdAT", b"XXXX"]),
            st.one_of(st.binary(max_size=40), st.binary(max_size=400).map(zlib.compress)),
        ),
        max_size=4,
    ),
)
def test_png_files_of_any_chunks(
    call: AsgiCaller, size: tuple[int, int], depth: int, colour: int, interlace: int, chunks: list[bytes]
) -> None:
    answered_with_image(call, png(*size, *chunks, depth=depth, colour=colour, interlace=interlace))


@hostile
@given(
    start=st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xdb", b""]),
    rest=st.binary(max_size=300),
)
def test_images_of_any_bytes(call: AsgiCaller, start: bytes, rest: bytes) -> None:
    answered_with_image(call, start + rest)


IMAGE_BOMBS = {
    "50000-by-50000": png(50_000, 50_000, chunk(b"IDAT", zlib.compress(bytes(1 << 20), 9))),
    "a-line-of-4-billion": png(2**31 - 1, 1, chunk(b"IDAT", b"")),
    "text-that-unpacks-to-50-mb": png(4, 4, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50 << 20), 9))),
    "a-profile-that-unpacks-to-50-mb": png(4, 4, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50 << 20), 9))),
    "pixels-that-unpack-to-50-mb": png(4, 4, chunk(b"IDAT", zlib.compress(bytes(50 << 20), 9))),
    "many-chunks": png(4, 4, *[chunk(b"tEXt", b"a\0b")] * 20_000),
}


@pytest.mark.parametrize("content", IMAGE_BOMBS.values(), ids=IMAGE_BOMBS)
def test_image_bombs_take_neither_memory_nor_time(call: AsgiCaller, content: bytes) -> None:
    answered_with_image(call, content)


# JSON.

DEEP = 100_000
JSON_BODIES = {
    "brackets": b"[" * DEEP,
    "closed-brackets": b"[" * DEEP + b"]" * DEEP,
    "brackets-in-a-field": b'{"inputs": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "objects": b'{"inputs":' * DEEP,
    "parameters-in-parameters": b'{"inputs": [], "parameters": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
    "many-names": json.dumps({f"name{number}": 0 for number in range(50_000)}).encode(),
    "many-parameters": json.dumps({"inputs": [], "parameters": {f"n{number}": 0 for number in range(50_000)}}).encode(),
    "a-long-name": json.dumps({"x" * 1_000_000: 0}).encode(),
    "a-long-text": json.dumps({"inputs": "x" * 1_000_000}).encode(),
    "a-long-parameter": json.dumps({"inputs": [], "parameters": {"temprature" * 50_000: 0}}).encode(),
    "a-huge-integer": b'{"inputs": [[' + b"9" * 100_000 + b"]]}",
    "infinity": b'{"inputs": [[1e400' + b",0" * 15 + b"]]}",
    "nan": b'{"inputs": [[NaN' + b",0" * 15 + b"]]}",
    "many-nans": b'{"inputs": [[' + b",".join([b"NaN"] * 50_000) + b"]]}",
    "lone-surrogate": b'{"inputs": "\\ud800"}',
    "not-utf-8": b'{"inputs": "\xff\xfe"}',
    "empty": b"",
    "null": b"null",
    "a-number": b"1",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
}


@pytest.mark.parametrize("body", JSON_BODIES.values(), ids=JSON_BODIES)
@pytest.mark.parametrize("path", [INFER, ENCODE, DECODE, "/v1/models/tiny-binary/generate"])
def test_json_with_a_purpose_is_refused(call: AsgiCaller, path: str, body: bytes) -> None:
    assert answered(call, path, body, ("Content-Type", "application/json")).status in (400, 422)


@hostile
@given(document=ANYTHING, path=st.sampled_from([INFER, ENCODE, DECODE, "/v1/models/tiny-binary/generate"]))
def test_json_of_any_kind(call: AsgiCaller, document: Any, path: str) -> None:
    answered(call, path, json.dumps(document).encode(), ("Content-Type", "application/json"))


@hostile
@given(
    rows=or_anything(
        st.lists(or_anything(st.lists(or_anything(st.floats(0, 1)), min_size=16, max_size=16)), max_size=3)
    ),
    rest=st.dictionaries(
        st.sampled_from(
            ["temperature", "seed", "num_samples", "first_row", "outputs", "code_format", "relaxation_temperature"]
        ),
        or_anything(st.sampled_from([0, 1, 0.5, "hex", ["codes"], ["margins", "relaxed"]])),
    ),
)
def test_encode_requests_of_any_kind(call: AsgiCaller, rows: Any, rest: dict[str, Any]) -> None:
    answered(call, ENCODE, json.dumps({"inputs": rows} | rest).encode(), ("Content-Type", "application/json"))


@hostile
@given(
    codes=or_anything(
        st.lists(or_anything(st.lists(or_anything(st.integers(-1, 7)), min_size=5, max_size=5)), max_size=3)
    ),
    code_format=st.sampled_from(["indices", "hex", "base64"]),
)
def test_decode_requests_of_any_kind(call: AsgiCaller, codes: Any, code_format: str) -> None:
    body = json.dumps({"codes": codes, "code_format": code_format}).encode()
    answered(call, DECODE, body, ("Content-Type", "application/json"))


def test_the_oracle_of_these_tests_knows_sound_requests(call: AsgiCaller) -> None:
    for path, document in (
        (ENCODE, {"inputs": TINY_BINARY.inputs(1).tolist()}),
        (DECODE, {"codes": TINY_CATEGORICAL.codes(1).tolist()}),
    ):
        assert answered(call, path, json.dumps(document).encode(), ("Content-Type", "application/json")).status == 200
