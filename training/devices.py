"""The device to train on."""

import logging

import torch

from training.errors import ConfigError
from training.ranks import ALONE, Ranks

logger = logging.getLogger(__name__)


def choose_device(name: str, ranks: Ranks = ALONE) -> torch.device:
    """The device called `cpu` or `cuda`, or for `auto` the GPU where there is one. Raises ConfigError without one.

    Of several ranks on a host each has a GPU of its own.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: this PyTorch sees no CUDA GPU; use --device cpu, "
            "or install a CUDA build of torch and check that nvidia-smi lists a GPU"
        )
    if name == "cpu" or ranks.is_alone:
        return torch.device(name)
    if ranks.local_size > torch.cuda.device_count():
        raise ConfigError(
            f"{ranks.local_size} processes on this host, and PyTorch sees {torch.cuda.device_count()} of its GPUs: "
            "expected at most one a GPU (torchrun --nproc-per-node); or use --device cpu"
        )
    torch.cuda.set_device(ranks.local_rank)
    return torch.device("cuda", ranks.local_rank)


def describe(device: torch.device) -> str:
    """The device in words, as it goes into logs and manifests."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"cpu, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
