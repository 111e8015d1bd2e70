"""Fails the build of a serving image that could not serve, or that carries what only training needs.

python check_serving_image.py CPUExecutionProvider|CUDAExecutionProvider
"""

import ctypes
import importlib.util
import sys
from pathlib import Path

import onnxruntime

import service.app  # noqa: F401 - that it can be imported is the first thing to check


def main(provider: str) -> str | None:
    """What is wrong with the image this runs in, or None."""
    for package in ("torch", "training", "pip"):
        if importlib.util.find_spec(package) is not None:
            return f"{package} can be imported in the serving image"
    if provider not in onnxruntime.get_available_providers():
        return f"this ONNX Runtime was built without the {provider}: {onnxruntime.get_available_providers()}"
    return _missing_cuda_library() if provider == "CUDAExecutionProvider" else None


def _missing_cuda_library() -> str | None:
    """Of what CUDA needs, only the driver is the host's: it is the one library that may not be found here."""
    onnxruntime.preload_dlls()
    try:
        ctypes.CDLL(str(Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        return None if str(error).startswith("libcuda.so.1:") else f"CUDA cannot be loaded: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
