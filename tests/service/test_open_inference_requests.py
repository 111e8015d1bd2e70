"""Requests of the Open Inference Protocol, from bytes to arrays: what is read, and what each error says."""

import json
from typing import Any

import numpy as np
import pytest
from tiny_models import TINY_BINARY, TINY_CATEGORICAL, manifest_of

from models.manifest import Manifest
from service.errors import InvalidFields, MalformedBody
from service.open_inference.datatypes import DATATYPES
from service.open_inference.metadata import AVAILABLE
from service.open_inference.requests import InferenceRequest, RequestedOutput, read_request

MAX_ROWS = 100


BINARY = manifest_of(TINY_BINARY)
CATEGORICAL = manifest_of(TINY_CATEGORICAL)


def read(document: Any, *tails: bytes, manifest: Manifest = BINARY, length: str | None = None) -> InferenceRequest:
    """The request of this document, with these bytes behind it."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    lengths = [length] if length is not None else [str(len(text))] if tails else []
    return read_request(text + b"".join(tails), lengths, manifest, max_rows=MAX_ROWS)


def tensor(name: str = "inputs", shape: Any = (1, 4, 4), datatype: Any = "FP32", **rest: Any) -> dict[str, Any]:
    return {"name": name, "shape": list(shape) if isinstance(shape, tuple) else shape, "datatype": datatype} | rest


def with_data(data: Any, **changes: Any) -> dict[str, Any]:
    return {"inputs": [tensor(data=data, **changes)]}


ROW = [0.5] * 16


@pytest.mark.parametrize(
    "data",
    [ROW, [[0.5] * 16], [[[0.5] * 4] * 4]],
    ids=["flat", "nested-flat-rows", "nested-like-the-model"],
)
def test_elements_come_flat_or_nested_like_their_shape(data: Any) -> None:
    shape = (1, 16) if data == [[0.5] * 16] else (1, 4, 4)
    found = read(with_data(data, shape=shape))
    assert found.input is not None
    np.testing.assert_array_equal(found.input.array, np.full(shape, 0.5))


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_bytes_are_little_endian_elements_of_the_datatype(datatype: str) -> None:
    array = TINY_BINARY.inputs(3).astype(DATATYPES[datatype])
    found = read(
        {"inputs": [tensor(shape=(3, 4, 4), datatype=datatype, parameters={"binary_data_size": array.nbytes})]},
        array.tobytes(),
    )
    assert found.input is not None
    assert found.input.array.dtype == array.dtype
    np.testing.assert_array_equal(found.input.array, array)


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if "INT" in name])
def test_codes_come_in_any_integer_datatype(datatype: str) -> None:
    codes = TINY_CATEGORICAL.codes(4).astype(DATATYPES[datatype])
    as_json = read(with_data(codes.tolist(), name="codes", shape=(4, 5), datatype=datatype), manifest=CATEGORICAL)
    as_bytes = read(
        {"inputs": [tensor("codes", (4, 5), datatype, parameters={"binary_data_size": codes.nbytes})]},
        codes.tobytes(),
        manifest=CATEGORICAL,
    )
    for found in (as_json, as_bytes):
        assert found.input is not None
        np.testing.assert_array_equal(found.input.array, codes)


def test_json_numbers_keep_the_precision_that_they_came_with() -> None:
    """As in /v1, where a value is held to the model's range before it is rounded to float32."""
    found = read(with_data([1.00000001] * 16))
    assert found.input is not None
    assert found.input.array.dtype == np.float64


@pytest.mark.parametrize("name", [None, "inputs", "codes", "relaxed"])
def test_without_outputs_all_that_there_are_are_wanted(name: str | None) -> None:
    request = read(requesting(name))
    assert [output.name for output in request.outputs] == list(AVAILABLE[name])
    assert not any(output.binary for output in request.outputs)


def requesting(name: str | None, **rest: Any) -> dict[str, Any]:
    """A sound request with this input."""
    inputs = {
        None: [],
        "inputs": [tensor(data=ROW)],
        "codes": [tensor("codes", (1, 12), "UINT8", data=[1] * 12)],
        "relaxed": [tensor("relaxed", (1, 12), "FP32", data=[0.5] * 12)],
    }
    return {"inputs": inputs[name]} | rest


def test_an_output_is_binary_where_it_says_so_and_else_where_the_request_does() -> None:
    outputs = [
        {"name": "logits"},
        {"name": "codes", "parameters": {"binary_data": False}},
        {"name": "margins", "parameters": {"binary_data": True}},
    ]
    for everywhere in (False, True):
        found = read(requesting("inputs", outputs=outputs, parameters={"binary_data_output": everywhere}))
        assert found.outputs == (
            RequestedOutput("logits", everywhere),
            RequestedOutput("codes", False),
            RequestedOutput("margins", True),
        )


def test_members_that_the_protocol_does_not_name_are_passed_over() -> None:
    document = requesting("inputs", model_name="other", colour="red")
    document["inputs"][0]["colour"] = "red"
    assert read(document).input is not None


@pytest.mark.parametrize(
    "parameters",
    [
        {"priority": 3},
        {"timeout": 0},
        {"sequence_id": 0, "sequence_start": False, "sequence_end": False},
        {"sequence_id": ""},
        {"temperature": None},
        {},
    ],
)
def test_reserved_parameters_that_ask_for_nothing_change_nothing(parameters: dict[str, Any]) -> None:
    assert read(requesting("inputs", parameters=parameters)).parameters == read(requesting("inputs")).parameters


def test_timeout_is_in_microseconds() -> None:
    assert read(requesting(None, parameters={"timeout": 1_500_000})).parameters.timeout_seconds == 1.5


HUGE = 1 << 100

REFUSED: dict[str, tuple[Any, str, str]] = {
    "no-object": ([], "body", "a list of 0"),
    "no-inputs": ({}, "inputs", "nothing"),
    "inputs-null": ({"inputs": None}, "inputs", "nothing"),
    "inputs-object": ({"inputs": {}}, "inputs", "an object"),
    "two-inputs": ({"inputs": [tensor(data=ROW)] * 2}, "inputs", "2 tensors"),
    "very-many-inputs": ({"inputs": [1] * 100_000}, "inputs", "100000 tensors"),
    "input-no-object": ({"inputs": [3]}, "inputs[0]", "3"),
    "name-missing": ({"inputs": [{"shape": [1], "datatype": "FP32", "data": []}]}, "inputs[0].name", "null"),
    "name-unknown": (with_data(ROW, name="input0"), "inputs[0].name", "'input0'"),
    "name-case": (with_data(ROW, name="Inputs"), "inputs[0].name", "'Inputs'"),
    "name-list": (with_data(ROW, name=["inputs"]), "inputs[0].name", "a list"),
    "datatype-integers": (with_data(ROW, datatype="INT32"), "inputs[0].datatype", "'INT32'"),
    "datatype-bytes": (with_data(["x"], datatype="BYTES"), "inputs[0].datatype", "'BYTES'"),
    "datatype-bool": (with_data([True] * 16, datatype="BOOL"), "inputs[0].datatype", "'BOOL'"),
    "datatype-lower-case": (with_data(ROW, datatype="fp32"), "inputs[0].datatype", "'fp32'"),
    "datatype-list": (with_data(ROW, datatype=["FP32"]), "inputs[0].datatype", "a list"),
    "datatype-of-codes": (with_data([1] * 12, name="codes", shape=(1, 12)), "inputs[0].datatype", "'FP32'"),
    "half-in-json": (with_data(ROW, datatype="FP16"), "inputs[0].data", "JSON"),
    "shape-missing": ({"inputs": [{"name": "inputs", "datatype": "FP32", "data": ROW}]}, "inputs[0].shape", "null"),
    "shape-number": (with_data(ROW, shape=16), "inputs[0].shape", "16"),
    "shape-of-floats": (with_data(ROW, shape=[1.0, 16]), "inputs[0].shape", "a list"),
    "shape-of-booleans": (with_data(ROW, shape=[True, 16]), "inputs[0].shape", "a list"),
    "shape-without-rows": (with_data(ROW, shape=[16]), "inputs[0].shape", "[16]"),
    "shape-empty": (with_data(ROW, shape=[]), "inputs[0].shape", "[]"),
    "shape-of-another-model": (with_data(ROW, shape=[1, 28, 28]), "inputs[0].shape", "[1, 28, 28]"),
    "shape-transposed": (with_data(ROW, shape=[4, 4, 1]), "inputs[0].shape", "[4, 4, 1]"),
    "shape-negative": (with_data(ROW, shape=[-1, 16]), "inputs[0].shape[0]", "-1"),
    "shape-no-rows": (with_data([], shape=[0, 16]), "inputs[0].shape[0]", "0"),
    "shape-beyond-64-bits": (with_data(ROW, shape=[HUGE, 16]), "inputs[0].shape", ""),
    "shape-beyond-63-bits": (with_data(ROW, shape=[1 << 63, 16]), "inputs[0].shape[0]", "9223372036854775808"),
    "shape-product-overflows": (with_data(ROW, shape=[1 << 62, 16]), "inputs[0].shape[0]", "split the request"),
    "shape-wraps-around": (with_data(ROW, shape=[(1 << 60) + 1, 16]), "inputs[0].shape[0]", "split the request"),
    "shape-very-long": (with_data(ROW, shape=[1] * 100_000), "inputs[0].shape", "[1, 1, 1, 1, 1, 1, 1, 1, ...]"),
    "too-many-rows": (with_data(ROW * 101, shape=(101, 16)), "inputs[0].shape[0]", "101; split"),
    "neither-data-nor-bytes": ({"inputs": [tensor()]}, "inputs[0]", "neither"),
    "data-null": (with_data(None), "inputs[0]", "neither"),
    "both-data-and-bytes": (with_data(ROW, parameters={"binary_data_size": 64}), "inputs[0]", "both"),
    "data-object": (with_data({}), "inputs[0].data", "an object"),
    "data-too-short": (with_data(ROW[1:]), "inputs[0].data", "a list of 15"),
    "data-too-long": (with_data([*ROW, 0.5]), "inputs[0].data", "a list of 17"),
    "data-empty": (with_data([]), "inputs[0].data", "a list of 0"),
    "data-ragged": (with_data([[[0.5] * 4] * 3 + [[0.5] * 3]]), "inputs[0].data[0][3]", "a list of 3"),
    "data-half-nested": (with_data([[[0.5] * 4] * 3 + [0.5]]), "inputs[0].data[0][3]", "0.5"),
    "data-of-other-rows": (with_data([[[0.5] * 4] * 4] * 2), "inputs[0].data", "a list of 2"),
    "data-nested-too-deep": (with_data([[[[0.5]] * 4] * 4]), "inputs[0].data[0]", "a list of 1"),
    "data-with-text": (with_data([*ROW[1:], "0.5"]), "inputs[0].data[15]", "'0.5'"),
    "data-with-booleans": (with_data([True, *ROW[1:]]), "inputs[0].data[0]", "true"),
    "data-with-null": (with_data([None, *ROW[1:]]), "inputs[0].data[0]", "null"),
    "codes-with-fractions": (
        with_data([1.0] + [1] * 11, name="codes", shape=(1, 12), datatype="UINT8"),
        "inputs[0].data[0]",
        "1.0",
    ),
    "codes-beyond-the-datatype": (
        with_data([1] * 11 + [256], name="codes", shape=(1, 12), datatype="UINT8"),
        "inputs[0].data[11]",
        "256",
    ),
    "codes-below-the-datatype": (
        with_data([-1] + [1] * 11, name="codes", shape=(1, 12), datatype="UINT64"),
        "inputs[0].data[0]",
        "-1",
    ),
    "id-number": (requesting(None, id=7), "id", "7"),
    "id-very-long": (requesting(None, id="x" * 1025), "id", "1025 characters"),
    "outputs-object": (requesting(None, outputs={}), "outputs", "an object"),
    "outputs-of-names": (requesting(None, outputs=["codes"]), "outputs[0]", "'codes'"),
    "output-unknown": (requesting("inputs", outputs=[{"name": "code"}]), "outputs[0].name", "'code'"),
    "output-of-another-input": (
        requesting("codes", outputs=[{"name": "logits"}]),
        "outputs[0].name",
        "'logits'",
    ),
    "output-twice": (requesting("inputs", outputs=[{"name": "codes"}] * 2), "outputs[1].name", "codes again"),
    "very-many-outputs": (requesting("inputs", outputs=[{"name": "codes"}] * 100_000), "outputs", "100000"),
    "output-classification": (
        requesting("inputs", outputs=[{"name": "codes", "parameters": {"classification": 3}}]),
        "outputs[0].parameters",
        "an unknown parameter",
    ),
    "output-shared-memory": (
        requesting("inputs", outputs=[{"name": "codes", "parameters": {"shared_memory_region": "x"}}]),
        "outputs[0].parameters",
        "an unknown parameter",
    ),
    "output-binary-as-number": (
        requesting("inputs", outputs=[{"name": "codes", "parameters": {"binary_data": 1}}]),
        "outputs[0].parameters.binary_data",
        "1",
    ),
    "shared-memory": (
        {"inputs": [tensor(parameters={"shared_memory_region": "x", "shared_memory_byte_size": 64})]},
        "inputs[0].parameters",
        "an unknown parameter",
    ),
    "parameters-list": (requesting(None, parameters=[]), "parameters", "a list"),
    "parameter-misspelt": (requesting(None, parameters={"temprature": 1}), "parameters", "did you mean temperature?"),
    "parameter-reserved": (requesting(None, parameters={"triton_enable_empty_final_response": True}), "parameters", ""),
    "headers": (requesting(None, parameters={"headers": {}}), "parameters", "an unknown parameter"),
    "temperature-text": (requesting(None, parameters={"temperature": "1"}), "parameters.temperature", "'1'"),
    "temperature-boolean": (requesting(None, parameters={"temperature": True}), "parameters.temperature", "true"),
    "seed-fraction": (requesting(None, parameters={"seed": 1.5}), "parameters.seed", "1.5"),
    "seed-negative": (requesting(None, parameters={"seed": -1}), "parameters.seed", "-1"),
    "num-samples-zero": (requesting(None, parameters={"num_samples": 0}), "parameters.num_samples", "0"),
    "num-samples-many": (requesting(None, parameters={"num_samples": 101}), "parameters.num_samples", "101"),
    "rows-times-samples": (
        requesting("inputs", parameters={"num_samples": 101}),
        "inputs[0].shape[0]",
        "101; split",
    ),
    "timeout-fraction": (requesting(None, parameters={"timeout": 1.5}), "parameters.timeout", "1.5"),
    "timeout-negative": (requesting(None, parameters={"timeout": -5}), "parameters.timeout", "-5"),
    "priority-negative": (requesting(None, parameters={"priority": -5}), "parameters.priority", "-5"),
    "a-sequence": (requesting(None, parameters={"sequence_id": 7}), "parameters.sequence_id", "7"),
    "a-named-sequence": (requesting(None, parameters={"sequence_id": "a"}), "parameters.sequence_id", "'a'"),
    "a-sequence-that-starts": (requesting(None, parameters={"sequence_start": True}), "parameters.sequence_start", ""),
    "a-sequence-of-booleans": (requesting(None, parameters={"sequence_id": False}), "parameters.sequence_id", "false"),
}


@pytest.mark.parametrize(("document", "field", "received"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_an_error_that_names_the_place(document: Any, field: str, received: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        read(document)
    [error] = caught.value.errors
    assert error.field.startswith(field)
    assert received in error.received
    assert len(str(caught.value)) < 600


def bytes_of(num_bytes: int, declared: Any) -> tuple[dict[str, Any], bytes]:
    """A request of one row, 64 bytes, that declares so many and brings so many."""
    return {"inputs": [tensor(parameters={"binary_data_size": declared})]}, bytes(num_bytes)


@pytest.mark.parametrize(
    ("num_bytes", "declared", "field"),
    [
        (64, 63, "inputs[0].parameters.binary_data_size"),
        (64, 65, "inputs[0].parameters.binary_data_size"),
        (64, -64, "inputs[0].parameters.binary_data_size"),
        (64, 64.0, "inputs[0].parameters.binary_data_size"),
        (64, "64", "inputs[0].parameters.binary_data_size"),
        (64, True, "inputs[0].parameters.binary_data_size"),
        (64, HUGE, "inputs[0].parameters.binary_data_size"),
        (63, 64, "inputs[0].parameters.binary_data_size"),
        (0, 64, "inputs[0].parameters.binary_data_size"),
        (65, 64, "body"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(num_bytes: int, declared: Any, field: str) -> None:
    document, tail = bytes_of(num_bytes, declared)
    with pytest.raises(InvalidFields) as caught:
        read(document, tail)
    assert caught.value.errors[0].field == field


def test_bytes_that_no_tensor_declares_are_refused() -> None:
    with pytest.raises(InvalidFields, match="no bytes after those of the tensors"):
        read(requesting("inputs"), b"x")


@pytest.mark.parametrize(
    "lie", ["", " ", "-1", "+3", "1e2", "0x10", "abc", "٣", "99999999999999999999999999", "10_0", "1.0", "1 2"]
)
def test_a_length_that_is_no_number_or_too_large_is_refused(lie: str) -> None:
    with pytest.raises(InvalidFields, match="Inference-Header-Content-Length"):
        read(*bytes_of(64, 64), length=lie)


@pytest.mark.parametrize("off_by", [-3, -1, 1, 3])
def test_a_length_that_lies_is_refused(off_by: int) -> None:
    document, tail = bytes_of(64, 64)
    true = len(json.dumps(document))
    with pytest.raises((InvalidFields, MalformedBody)):
        read(document, tail, length=str(true + off_by))
    assert read(document, tail, length=str(true)).input is not None


def test_a_length_of_the_whole_body_is_a_request_without_bytes() -> None:
    text = json.dumps(requesting("inputs")).encode()
    assert read(text, length=str(len(text))).input is not None


def test_lengths_that_contradict_each_other_are_refused() -> None:
    text = json.dumps(requesting("inputs")).encode()
    with pytest.raises(InvalidFields, match="2 values that differ"):
        read_request(text, [str(len(text)), "3"], BINARY, max_rows=MAX_ROWS)
    assert read_request(text, [str(len(text))] * 2, BINARY, max_rows=MAX_ROWS).input is not None


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b'{"inputs": [' + b"[" * 100_000])
def test_what_is_no_json_is_malformed(text: bytes) -> None:
    with pytest.raises(MalformedBody):
        read(text)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite_are_named(literal: str) -> None:
    text = json.dumps(with_data(ROW)).replace("0.5", literal, 1).encode()
    with pytest.raises(InvalidFields, match=r"inputs\[0\].data\[0\]: expected a finite number"):
        read(text)
