"""Optimisers by name."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.schedules import ConstantSchedule, ScheduleOption, smallest, value


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam (Kingma and Ba 2015), RAdam (Liu et al. 2020), or SGD with momentum 0.9; the learning rate is a schedule."""

    name: Literal["adam", "radam", "sgd"] = "adam"
    learning_rate: ScheduleOption = field(default_factory=lambda: ConstantSchedule(value=1e-3))

    def __post_init__(self) -> None:
        if smallest(self.learning_rate) < 0:
            raise ValueError(f"learning_rate: expected 0 or more in every step, got {smallest(self.learning_rate)}")


def build_optimizer(
    config: OptimizerConfig,
    parameters: Iterable[nn.Parameter],
    *,
    rate: Float[Tensor, ""] | None = None,
    capturable: bool = False,
) -> torch.optim.Optimizer:
    """The optimiser over these parameters, with PyTorch's defaults where the configuration is silent.

    One kernel a step for all parameters where there is one (Adam, SGD). The learning rate is the tensor `rate`, float32
    on the parameters' device, in which the caller writes that of each step; None is that of step 0. `capturable` keeps
    every count of steps on the device, as a recorded step needs.
    """
    lr = value(config.learning_rate, 0) if rate is None else rate
    if config.name == "adam":
        return torch.optim.Adam(parameters, lr=lr, fused=True, capturable=capturable)
    if config.name == "radam":
        return torch.optim.RAdam(parameters, lr=lr, foreach=True, capturable=capturable)
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9, fused=True)


def load_state(optimizer: torch.optim.Optimizer, state: dict, *, rate: Float[Tensor, ""]) -> None:
    """Continue from a state dictionary, with the learning rate still read from `rate`."""
    capturable = [group.get("capturable") for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, is_capturable in zip(optimizer.param_groups, capturable, strict=True):
        group["lr"] = rate
        if is_capturable is not None:
            group["capturable"] = is_capturable
