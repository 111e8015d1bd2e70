"""Optimisers by name."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam (Kingma and Ba 2015), RAdam (Liu et al. 2020), or SGD with momentum 0.9; a constant learning rate."""

    name: Literal["adam", "radam", "sgd"] = "adam"
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate: expected more than 0, got {self.learning_rate}")


def build_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser over these parameters, with PyTorch's defaults where the configuration is silent."""
    if config.name == "adam":
        return torch.optim.Adam(parameters, lr=config.learning_rate, fused=True)
    if config.name == "radam":
        return torch.optim.RAdam(parameters, lr=config.learning_rate)
    return torch.optim.SGD(parameters, lr=config.learning_rate, momentum=0.9)
