"""What an ONNX file holds, told from its bytes: enough to refuse a graph before ONNX Runtime sees it.

The serving image has no `onnx` package. An ONNX file is one protobuf message (`onnx/onnx.proto`), and reading which
operators it names takes only the wire format: a message is a row of (field number, wire type, value), and of the
message types below a few fields lead on. Everything else, weights above all, is stepped over without a copy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from service.errors import GraphRefused

_Message = Literal["model", "graph", "node", "attribute", "tensor", "sparse_tensor", "function"]

_LEADS_ON: dict[_Message, dict[int, _Message]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse_tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse_tensor", 23: "sparse_tensor"},
    "sparse_tensor": {1: "tensor", 2: "tensor"},
    "function": {7: "node"},
    "tensor": {},
}
_OP_TYPE, _DOMAIN = 4, 7  # of a node
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor

_RANDOM_OPERATORS = frozenset(
    {
        "Bernoulli",
        "Dropout",  # in training mode, which is one of its inputs
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
_STANDARD_DOMAINS = frozenset({"", "ai.onnx"})


@dataclass(frozen=True)
class Contents:
    """Operators as (domain, name), those of subgraphs and functions included."""

    operators: frozenset[tuple[str, str]]
    has_external_data: bool


def contents(onnx_file: bytes) -> Contents:
    """Walk through the file. Raises GraphRefused when the bytes are not a protobuf message."""
    operators: set[tuple[str, str]] = set()
    has_external_data = False
    pending: list[tuple[_Message, memoryview]] = [("model", memoryview(onnx_file))]
    while pending:
        kind, message = pending.pop()
        op_type = domain = ""
        for number, value in _fields(message):
            if isinstance(value, int):
                has_external_data |= kind == "tensor" and number == _DATA_LOCATION and value == 1
            elif number in _LEADS_ON[kind]:
                pending.append((_LEADS_ON[kind][number], value))
            elif kind == "tensor" and number == _EXTERNAL_DATA:
                has_external_data = True
            elif kind == "node" and number == _OP_TYPE:
                op_type = str(value, "utf-8", "replace")
            elif kind == "node" and number == _DOMAIN:
                domain = str(value, "utf-8", "replace")
        if kind == "node":
            operators.add((domain, op_type))
    return Contents(frozenset(operators), has_external_data)


def refuse_unsafe(onnx_file: bytes) -> None:
    """Raise GraphRefused when the graph reaches outside its bytes, or could answer the same request in two ways.

    Refused are weights in other files, operators outside ONNX's own domain (which need code that is not here), and
    random operators: noise is an input of the graphs, so that a request can be repeated.
    """
    found = contents(onnx_file)
    if not found.operators:
        raise GraphRefused("expected a graph with at least one operator, got none")
    if found.has_external_data:
        raise GraphRefused("expected all weights inside the file, got a reference to external data")
    for domain, name in sorted(found.operators):
        if domain not in _STANDARD_DOMAINS:
            raise GraphRefused(f"expected only standard ONNX operators, got {name!r} of domain {domain!r}")
        if name in _RANDOM_OPERATORS:
            raise GraphRefused(f"expected no random operator, got {name!r}: noise is an input of the graph")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers with their values: varints, and the bytes of length-delimited fields; the others are skipped."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        match wire_type:
            case 0:
                value, position = _varint(message, position)
                yield number, value
            case 1 | 5:
                position += 8 if wire_type == 1 else 4
            case 2:
                length, position = _varint(message, position)
                yield number, message[position : position + length]
                position += length
            case _:
                raise GraphRefused("not an ONNX file: its bytes are not a protobuf message")
    if position != len(message):
        raise GraphRefused("not an ONNX file: it ends in the middle of a value")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise GraphRefused("not an ONNX file: it ends in the middle of a number")
