"""ONNX Runtime sessions: a graph from verified bytes, checked against its signature, and where it really runs.

ONNX Runtime falls back to the CPU silently, even when CUDA alone was asked for, and what it says is available is what
it was compiled with. Only `session.get_providers()` tells the truth, so that is what is logged, shown and enforced.

On the CPU, one thread within a run and prepacked weights make every row's result independent of the rows beside it,
bit for bit. On CUDA, TF32 is off: with its 10-bit mantissa symbols would flip.
"""

import logging
import time
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.graphs import Signature, TensorSpec
from service.errors import DeviceUnavailable, GraphRefused
from service.onnx_file import refuse_unsafe
from service.settings import Device

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"

_CUDA_OPTIONS = {
    "use_tf32": "0",
    # The exhaustive search times kernels and may choose another one next time.
    "cudnn_conv_algo_search": "HEURISTIC",
    "do_copy_in_default_stream": "1",
    "arena_extend_strategy": "kSameAsRequested",
}

_MEASURED_RUNS = 3

_logger = logging.getLogger(__name__)


class Cost(NamedTuple):
    """What runs of a graph take: about `seconds_per_run + num_rows * seconds_per_row`."""

    seconds_per_run: float
    seconds_per_row: float

    def seconds(self, num_rows: int) -> float:
        """An estimate for one run."""
        return self.seconds_per_run + num_rows * self.seconds_per_row


class GraphSession:
    """One graph, ready to run from any thread: ONNX Runtime's `run` keeps no state between calls."""

    def __init__(self, content: bytes, signature: Signature, *, device: Device, num_threads: int) -> None:
        """Raises GraphRefused when the graph is not one of that signature, DeviceUnavailable as `device` demands."""
        refuse_unsafe(content)
        self._session = _open(content, device, num_threads)
        self._signature = signature
        _compare("input", signature.inputs, self._session.get_inputs())
        _compare("output", signature.outputs, self._session.get_outputs())

    @property
    def provider(self) -> str:
        """The execution provider in use, e.g. "CPUExecutionProvider"."""
        return str(self._session.get_providers()[0])

    def run(self, *inputs: NDArray[Any], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """The named outputs, for inputs in the order of the signature, each [B, ...] of the dtype it names."""
        fed = dict(zip((spec.name for spec in self._signature.inputs), inputs, strict=True))
        return list(self._session.run(list(outputs), fed))

    def cost(self, num_rows: int) -> Cost:
        """Measured with one row and with `num_rows`, the least of a few runs each."""
        of_one, of_many = (min(self._seconds(number) for _ in range(_MEASURED_RUNS)) for number in (1, num_rows))
        per_row = max(0.0, of_many - of_one) / max(1, num_rows - 1)
        return Cost(max(0.0, of_one - per_row), per_row)

    def _seconds(self, num_rows: int) -> float:
        inputs = [np.ones((num_rows, *spec.shape), spec.dtype) for spec in self._signature.inputs]
        outputs = [spec.name for spec in self._signature.outputs]
        start = time.perf_counter()
        self.run(*inputs, outputs=outputs)
        return time.perf_counter() - start


def require(device: Device) -> None:
    """Raise DeviceUnavailable when this build of ONNX Runtime cannot run on `device` at all."""
    if device == "cuda" and CUDA not in onnxruntime.get_available_providers():
        raise DeviceUnavailable(
            f"device is cuda, and the installed ONNX Runtime {onnxruntime.__version__} was built without CUDA: "
            "install the project with its extra gpu instead of cpu"
        )


def _open(content: bytes, device: Device, num_threads: int) -> onnxruntime.InferenceSession:
    require(device)
    wants_cuda = device == "cuda" or (device == "auto" and CUDA in onnxruntime.get_available_providers())
    if not wants_cuda:
        return _create(content, [CPU], num_threads)
    _preload_cuda()
    try:
        session = _create(content, [(CUDA, _CUDA_OPTIONS), CPU], num_threads)
    except GraphRefused as error:
        # With CUDA half installed, ONNX Runtime may raise instead of falling back; a broken graph raises again below.
        session = _create(content, [CPU], num_threads)
        _logger.warning("CUDA could not be used: %s", error)
    if device == "cuda" and session.get_providers()[0] != CUDA:
        raise DeviceUnavailable(
            f"device is cuda, and ONNX Runtime runs on {session.get_providers()[0]} instead: "
            "is there an NVIDIA GPU with its driver, and can this process see it?"
        )
    return session


@cache
def _preload_cuda() -> None:
    """Load the CUDA and cuDNN libraries that pip installed, once; the loader of the system does not look there."""
    onnxruntime.preload_dlls()


def _create(content: bytes, providers: list[Any], num_threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    # A waiting thread that spins takes a core from the others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # the classes that ONNX Runtime raises share no base but this
        raise GraphRefused(f"ONNX Runtime cannot load the graph: {str(error).splitlines()[0][:300]}") from error


_ORT_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    **{f"tensor({name})": name for name in ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")},
}


def _compare(what: str, expected: Sequence[TensorSpec], found: Sequence[Any]) -> None:
    names = [argument.name for argument in found]
    if names != [spec.name for spec in expected]:
        raise GraphRefused(
            f"expected {what}s {', '.join(spec.name for spec in expected)}, got {', '.join(names) or 'none'}"
        )
    for spec, argument in zip(expected, found, strict=True):
        dtype = _ORT_TYPES.get(argument.type, argument.type)
        if dtype != spec.dtype:
            raise GraphRefused(f"{what} {spec.name}: expected {spec.dtype}, got {dtype}")
        batch, *row = argument.shape or [0]
        if isinstance(batch, int) or tuple(row) != spec.shape:
            raise GraphRefused(
                f"{what} {spec.name}: expected shape {['batch', *spec.shape]} with a dynamic batch axis, "
                f"got {argument.shape}"
            )
