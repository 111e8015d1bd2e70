"""The shipped model's graphs in ONNX Runtime, with one thread, as every server of this benchmark runs them."""

import os
from pathlib import Path

import onnxruntime

MODEL = Path(os.environ["BENCHMARK_MODEL"])
NUM_LATENTS, NUM_CATEGORIES, INPUT_SIZE = 20, 10, 784


def open_graph(role: str) -> onnxruntime.InferenceSession:
    """`encoder`, `sampler` or `decoder`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(MODEL / f"{role}.onnx", options, providers=["CPUExecutionProvider"])
