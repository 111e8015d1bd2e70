"""ONNX Runtime sessions: a graph from verified bytes, checked against its signature, and where it really runs.

ONNX Runtime falls back to the CPU silently, even when CUDA alone was asked for. Only `session.get_providers()` tells
the truth, so that is what is logged, shown and enforced.

On the CPU, one thread within a run and prepacked weights make every row's result independent of the rows beside it,
bit for bit. So it is independent of rows that only pad a run.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.graphs import Signature, TensorSpec
from service import providers
from service.errors import DeviceUnavailable, GraphRefused
from service.onnx_file import refuse_unsafe
from service.providers import CPU, DeviceOptions
from service.settings import Device

_MEASURED_RUNS = 10

_logger = logging.getLogger(__name__)


class Cost(NamedTuple):
    """What runs of a graph take: about `seconds_per_run + num_rows * seconds_per_row`."""

    seconds_per_run: float
    seconds_per_row: float

    def seconds(self, num_rows: int) -> float:
        """An estimate for one run."""
        return self.seconds_per_run + num_rows * self.seconds_per_row


class GraphSession:
    """One graph, ready to run from any thread: ONNX Runtime's `run` keeps no state between calls, nor does this."""

    def __init__(
        self,
        content: bytes,
        signature: Signature,
        *,
        device: Device,
        num_threads: int,
        options: DeviceOptions | None = None,
        max_rows: int = 1024,
    ) -> None:
        """`max_rows`: the most that a run will have, for providers that plan for it.

        Raises GraphRefused when the graph is not one of that signature, DeviceUnavailable as `device` demands.
        """
        refuse_unsafe(content)
        options = options or DeviceOptions()
        wanted = providers.wanted(device, options, signature.inputs, bucket(max_rows))
        self._session = _open(content, device, wanted, num_threads)
        self._signature = signature
        self._names = tuple(spec.name for spec in signature.inputs)
        _compare("input", signature.inputs, self._session.get_inputs())
        _compare("output", signature.outputs, self._session.get_outputs())
        is_elsewhere = self.provider != CPU
        self._binds_io = is_elsewhere if options.binds_io is None else options.binds_io
        self._pads_rows = is_elsewhere if options.pads_rows is None else options.pads_rows
        self._memory = "cuda" if is_elsewhere else "cpu"
        # Where all of a run is this thread's work, its own time is: what else the processor does meanwhile, another
        # worker that starts for one, does not count. An estimate is kept for as long as the model is served.
        self._clock = time.perf_counter if is_elsewhere or num_threads != 1 else time.thread_time

    @property
    def provider(self) -> str:
        """The execution provider in use, e.g. "CPUExecutionProvider"."""
        return str(self._session.get_providers()[0])

    def run(self, *inputs: NDArray[Any], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """The named outputs, for inputs in the order of the signature, each [B, ...] of the dtype it names."""
        num_rows = len(inputs[0])
        if self._pads_rows and (num_padded := bucket(num_rows)) != num_rows:
            found = self._run([_padded(array, num_padded) for array in inputs], outputs)
            return [array[:num_rows] for array in found]
        return self._run(inputs, outputs)

    def _run(self, inputs: Sequence[NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        if self._binds_io:
            return self._run_bound(inputs, outputs)
        found: list[NDArray[Any]] = self._session.run(list(outputs), dict(zip(self._names, inputs, strict=True)))
        return found

    def _run_bound(self, inputs: Sequence[NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """With what the device reads and writes in its own memory, allocated there, and copied once each way.

        A binding belongs to one run: it is all the state there is.
        """
        binding = self._session.io_binding()
        for spec, array in zip(self._signature.inputs, inputs, strict=True):
            value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self._memory, 0)
            binding.bind_ortvalue_input(spec.name, value)
        for name in outputs:
            binding.bind_output(name, self._memory)
        self._session.run_with_iobinding(binding)
        return [value.numpy() for value in binding.get_outputs()]

    def warm(self, max_rows: int) -> None:
        """Run once with every number of rows that padding leaves: no request waits for what a first run plans."""
        num_rows = 1
        while self._pads_rows and num_rows <= bucket(max_rows):
            self._seconds(num_rows)
            num_rows *= 2

    def cost(self, num_rows: int) -> Cost:
        """Measured with one row and with `num_rows`, the least of a few runs each."""
        of_one, of_many = (min(self._seconds(number) for _ in range(_MEASURED_RUNS)) for number in (1, num_rows))
        per_row = max(0.0, of_many - of_one) / max(1, num_rows - 1)
        return Cost(max(0.0, of_one - per_row), per_row)

    def _seconds(self, num_rows: int) -> float:
        inputs = [np.ones((num_rows, *spec.shape), spec.dtype) for spec in self._signature.inputs]
        outputs = [spec.name for spec in self._signature.outputs]
        start = self._clock()
        self.run(*inputs, outputs=outputs)
        return self._clock() - start


def bucket(num_rows: int) -> int:
    """The next power of two: rows that a run is padded to."""
    return 1 << max(0, num_rows - 1).bit_length()


def _padded(array: NDArray[Any], num_rows: int) -> NDArray[Any]:
    """With its last row again and again: whatever is computed of it is finite where that row's is."""
    return np.concatenate([array, np.broadcast_to(array[-1:], (num_rows - len(array), *array.shape[1:]))])


def _open(
    content: bytes, device: Device, wanted: list[tuple[str, dict[str, Any]]], num_threads: int
) -> onnxruntime.InferenceSession:
    providers.require(device)
    if wanted[0][0] == CPU:
        return _create(content, wanted, num_threads)
    providers.preload_cuda()
    try:
        session = _create(content, wanted, num_threads)
    except GraphRefused as error:
        # With CUDA half installed, ONNX Runtime may raise instead of falling back; a broken graph raises again below.
        session = _create(content, wanted[-1:], num_threads)
        _logger.warning("%s could not be used: %s", wanted[0][0], error)
    if device != "auto" and session.get_providers()[0] != providers.PROVIDER_OF[device]:
        raise DeviceUnavailable(
            f"device is {device}, and ONNX Runtime runs on {session.get_providers()[0]} instead: is there an NVIDIA "
            "GPU with its driver and libraries, and can this process see them?"
        )
    return session


def _create(content: bytes, wanted: list[tuple[str, dict[str, Any]]], num_threads: int) -> onnxruntime.InferenceSession:
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
        return onnxruntime.InferenceSession(content, options, providers=wanted)
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
