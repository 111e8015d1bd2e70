"""Schedules: pure functions of the step, so that a resumed run continues exactly where it was."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TemperatureConfig:
    """Annealing of the relaxation temperature, `max(minimum, initial exp(-rate step))`.

    The step is rounded down to a multiple of `update_every` (Jang, Gu and Poole 2016 use 500 and 1000, rates 1e-5
    and 1e-4, minimum 0.5). A rate of 0 keeps the initial temperature.
    """

    initial: float = 1.0
    minimum: float = 0.5
    rate: float = 1e-4
    update_every: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.initial) and 0 < self.minimum <= self.initial):
            raise ValueError(f"expected 0 < minimum <= initial, got minimum {self.minimum} and initial {self.initial}")
        if not (math.isfinite(self.rate) and self.rate >= 0):
            raise ValueError(f"rate: expected 0 or more, got {self.rate}")
        if self.update_every < 1:
            raise ValueError(f"update_every: expected at least 1, got {self.update_every}")


def relaxation_temperature(config: TemperatureConfig, step: int) -> float:
    """The relaxation temperature used in the step with this number, counted from 0."""
    step -= step % config.update_every
    return max(config.minimum, config.initial * math.exp(-config.rate * step))
