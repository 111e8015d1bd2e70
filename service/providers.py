"""Which execution providers of ONNX Runtime are asked for, in which order, and with which options.

ONNX Runtime falls back from each to the next silently, and what it says is available is what it was compiled with; what
a graph really runs on, `sessions` finds out. On an NVIDIA GPU, TF32 is off everywhere: with its 10-bit mantissa symbols
would flip. CUDA has an option for that, TensorRT an environment variable alone, which is read once.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime

from models.graphs import TensorSpec
from service.errors import DeviceUnavailable
from service.settings import ArenaExtension, Device

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
PROVIDER_OF: dict[Device, str] = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}
"""The one that a device that is demanded must begin with."""


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """How a device is used. None: as pays there, which is on a GPU and not on the CPU."""

    binds_io: bool | None = None
    """Whether inputs and outputs are bound: copied to the device once, and outputs from it once."""
    pads_rows: bool | None = None
    """Whether a run is padded to a power of two of rows, so that few sizes are planned and tuned for."""
    memory_limit_bytes: int = 0
    """Of the arena that each graph has on a GPU; 0: none but the device's."""
    arena_extension: ArenaExtension = "kSameAsRequested"
    """How that arena grows: by what is needed, which leaves room for others, or to powers of two."""
    tensorrt_cache: Path | None = None
    """Folder where TensorRT keeps the engines it built; without one they are built at every start."""


def require(device: Device) -> None:
    """Raise DeviceUnavailable when this build of ONNX Runtime cannot run on `device` at all."""
    provider = PROVIDER_OF.get(device, CPU)
    if provider not in onnxruntime.get_available_providers():
        raise DeviceUnavailable(
            f"device is {device}, and the installed ONNX Runtime {onnxruntime.__version__} was built without "
            f"{provider}: install the project with its extra gpu instead of cpu"
        )


def wanted(
    device: Device, options: DeviceOptions, inputs: Sequence[TensorSpec], max_rows: int
) -> list[tuple[str, dict[str, Any]]]:
    """Providers with their options, first the one that is wanted most, last the CPU.

    TensorRT builds one engine for all batches from a row to `max_rows`, as the `inputs` of the graph are shaped.
    """
    providers: list[tuple[str, dict[str, Any]]] = [(CPU, {})]
    if device in ("cuda", "tensorrt") or (device == "auto" and CUDA in onnxruntime.get_available_providers()):
        providers.insert(0, (CUDA, _cuda(options)))
    if device == "tensorrt":
        providers.insert(0, (TENSORRT, _tensorrt(options, inputs, max_rows)))
    return providers


def _cuda(options: DeviceOptions) -> dict[str, Any]:
    chosen = {
        "use_tf32": "0",
        # The exhaustive search times kernels and may choose another one next time.
        "cudnn_conv_algo_search": "HEURISTIC",
        "do_copy_in_default_stream": "1",
        "arena_extend_strategy": options.arena_extension,
    }
    if options.memory_limit_bytes:
        chosen["gpu_mem_limit"] = str(options.memory_limit_bytes)
    return chosen


def _tensorrt(options: DeviceOptions, inputs: Sequence[TensorSpec], max_rows: int) -> dict[str, Any]:
    def shapes(num_rows: int) -> str:
        return ",".join(f"{spec.name}:{'x'.join(map(str, (num_rows, *spec.shape)))}" for spec in inputs)

    chosen = {
        "trt_fp16_enable": "0",
        "trt_int8_enable": "0",
        "trt_profile_min_shapes": shapes(1),
        "trt_profile_opt_shapes": shapes(max_rows),
        "trt_profile_max_shapes": shapes(max_rows),
    }
    if options.memory_limit_bytes:
        chosen["trt_max_workspace_size"] = str(options.memory_limit_bytes)
    if options.tensorrt_cache is not None:
        path = str(options.tensorrt_cache)
        chosen |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": path}
        chosen |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": path}
    return chosen


@cache
def preload_cuda() -> None:
    """Load the CUDA and cuDNN libraries that pip installed, once; the loader of the system does not look there."""
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    onnxruntime.preload_dlls()
