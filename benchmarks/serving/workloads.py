"""What is asked of the servers: bodies, connections, and how to tell that an answer is right.

Inputs are uniform random numbers of four decimals; their answers are ONNX Runtime's, computed here.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

BULK_ROWS = 4096
"""Of a large body."""

JSON, NPY, RAW = "application/json", "application/x-npy", "application/octet-stream"


@dataclass(frozen=True)
class Workload:
    """One kind of request, sent over and over."""

    name: str
    title: str
    operation: str
    num_connections: int
    num_rows: int
    content_type: str
    body: bytes
    is_right: Callable[[bytes], bool]
    accept: str = JSON
    query: str = ""
    needs: frozenset[str] = field(default_factory=frozenset)
    """What a server must offer for it."""


@dataclass(frozen=True)
class Oracle:
    """The graphs, run directly."""

    encoder: Any
    decoder: Any

    @cached_property
    def inputs(self) -> NDArray[np.float32]:
        """[64, 784]"""
        return np.random.default_rng(0).random((64, 784)).round(4).astype(np.float32)

    @cached_property
    def codes(self) -> NDArray[np.integer]:
        """[64, 20]"""
        return self.encoder.run(["codes"], {"inputs": self.inputs})[0]

    @cached_property
    def outputs(self) -> NDArray[np.float32]:
        """[64, 28, 28]"""
        corners = np.eye(10, dtype=np.float32)[self.codes]
        return self.decoder.run(["outputs"], {"relaxed": corners})[0].reshape(-1, 28, 28)

    def has_codes(self, num_rows: int) -> Callable[[bytes], bool]:
        """Whether a JSON reply holds the codes of the first rows."""
        expected = self.codes[:num_rows].tolist()
        return lambda reply: bool(json.loads(reply)["codes"] == expected)

    def has_outputs(self, num_rows: int) -> Callable[[bytes], bool]:
        """Whether a JSON reply holds the outputs of the first codes."""
        expected = self.outputs[:num_rows]
        return lambda reply: bool(np.allclose(json.loads(reply)["outputs"], expected, atol=1e-6))

    def is_outputs(self, num_rows: int) -> Callable[[bytes], bool]:
        """Whether an npy reply is the outputs of the first codes."""
        expected = self.outputs[:num_rows]
        return lambda reply: bool(np.allclose(np.load(BytesIO(reply)), expected, atol=1e-6))


def _holds_a_code(reply: bytes) -> bool:
    codes = np.array(json.loads(reply)["codes"])
    return codes.shape == (1, 20) and bool(((codes >= 0) & (codes < 10)).all())


def workloads(oracle: Oracle) -> list[Workload]:
    """All of them, in the order of the table."""
    rounded = oracle.inputs.astype(np.float64).round(4)

    def json_rows(num_rows: int, **parameters: Any) -> bytes:
        return orjson.dumps({"inputs": rounded[:num_rows].tolist(), **parameters})

    def json_codes(num_rows: int) -> bytes:
        return orjson.dumps({"codes": oracle.codes[:num_rows].tolist()})

    one, many = oracle.has_codes(1), oracle.has_codes(64)
    sampled = frozenset({"sampling"})
    npy = frozenset({"npy"})
    return [
        Workload("w1-1", "W1: encode 1 row, JSON, 1 connection", "encode", 1, 1, JSON, json_rows(1), one),
        Workload("w1-32", "W1: encode 1 row, JSON, 32 connections", "encode", 32, 1, JSON, json_rows(1), one),
        Workload("w2", "W2: encode 64 rows, JSON, 8 connections", "encode", 8, 64, JSON, json_rows(64), many),
        Workload(
            "w3",
            "W3: encode 64 rows, raw float32, 8 connections",
            "encode",
            8,
            64,
            RAW,
            oracle.inputs.tobytes(),
            many,
            needs=frozenset({"raw"}),
        ),
        Workload(
            "sample-32",
            "encode 1 row at T = 1 with a seed, JSON, 32 connections",
            "encode",
            32,
            1,
            JSON,
            json_rows(1, temperature=1.0, seed=7),
            _holds_a_code,
            needs=sampled,
        ),
        Workload(
            "decode-1",
            "decode 1 code, JSON, 32 connections",
            "decode",
            32,
            1,
            JSON,
            json_codes(1),
            oracle.has_outputs(1),
            needs=frozenset({"decode"}),
        ),
        Workload(
            "decode-1-npy",
            "decode 1 code, npy reply, 32 connections",
            "decode",
            32,
            1,
            JSON,
            json_codes(1),
            oracle.is_outputs(1),
            accept=NPY,
            needs=npy,
        ),
        Workload(
            "decode-64",
            "decode 64 codes, JSON, 8 connections",
            "decode",
            8,
            64,
            JSON,
            json_codes(64),
            oracle.has_outputs(64),
            needs=frozenset({"decode"}),
        ),
        Workload(
            "decode-64-npy",
            "decode 64 codes, npy reply, 8 connections",
            "decode",
            8,
            64,
            JSON,
            json_codes(64),
            oracle.is_outputs(64),
            accept=NPY,
            needs=npy,
        ),
    ]


def bulk(oracle: Oracle, num_rows: int) -> Workload:
    """One large binary request after the other: what a core encodes, HTTP included."""
    inputs = np.tile(oracle.inputs, (num_rows // 64, 1))
    expected = np.tile(oracle.codes, (num_rows // 64, 1))
    return Workload(
        "bulk",
        f"encode {num_rows} rows, raw float32 to npy, 1 connection",
        "encode",
        1,
        num_rows,
        RAW,
        inputs.tobytes(),
        lambda reply: bool(np.array_equal(np.load(BytesIO(reply)), expected)),
        accept=NPY,
        needs=frozenset({"bulk"}),
    )
