"""Optimisers by name."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from training.schedules import ConstantSchedule, ScheduleOption, smallest, value


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam (Kingma and Ba 2015), RAdam (Liu et al. 2020), or SGD with momentum 0.9; the learning rate is a schedule."""

    name: Literal["adam", "radam", "sgd"] = "adam"
    learning_rate: ScheduleOption = field(default_factory=lambda: ConstantSchedule(value=1e-3))

    def __post_init__(self) -> None:
        if smallest(self.learning_rate) < 0:
            raise ValueError(f"learning_rate: expected 0 or more in every step, got {smallest(self.learning_rate)}")


def build_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser over these parameters, with PyTorch's defaults where the configuration is silent.

    Its learning rate is that of step 0; `set_learning_rate` moves it along.
    """
    rate = value(config.learning_rate, 0)
    if config.name == "adam":
        return torch.optim.Adam(parameters, lr=rate, fused=True)
    if config.name == "radam":
        return torch.optim.RAdam(parameters, lr=rate)
    return torch.optim.SGD(parameters, lr=rate, momentum=0.9)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use this learning rate from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = rate
