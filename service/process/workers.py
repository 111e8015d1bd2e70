"""How many workers a machine should have."""

import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from service.settings import Settings

MAX_AUTOMATIC = 16
"""More than that is a decision about memory that somebody should take."""
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_NVIDIA = Path("/dev/nvidiactl")


def num_workers(settings: Settings) -> int:
    """As the settings say; by default one process where models run on a GPU, since each has a context of its own on the
    device and batches better alone, and one for each core elsewhere.
    """
    if settings.workers != "auto":
        return settings.workers
    if settings.device in ("cuda", "tensorrt") or (settings.device == "auto" and _has_cuda()):
        return 1
    return min(available_cores(), MAX_AUTOMATIC)


def available_cores() -> int:
    """Cores that this process may use: of its affinity, and whole ones of its container's share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CGROUP_QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def _has_cuda() -> bool:
    """Likely so; the supervisor does not load ONNX Runtime to know, and what runs where the worker finds out."""
    try:
        distribution("onnxruntime-gpu")
    except PackageNotFoundError:
        return False
    return _NVIDIA.exists()
