"""The device to train on."""

import logging

import torch

from training.errors import ConfigError

logger = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """The device called `cpu` or `cuda`, or for `auto` the GPU where there is one. Raises ConfigError without one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: this PyTorch sees no CUDA GPU; use --device cpu, "
            "or install a CUDA build of torch and check that nvidia-smi lists a GPU"
        )
    return torch.device(name)


def describe(device: torch.device) -> str:
    """The device in words, as it goes into logs and manifests."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"cpu, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
