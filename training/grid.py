"""The grid of a sweep: the section `[sweep]` of a configuration."""

import math
from dataclasses import dataclass

from models.noise import MAX_SEED


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Every seed with every learning rate, all else as configured; for `python -m training sweep`.

    Without `seeds` the one seed is `training.seed`; without `learning_rates` the one schedule is
    `optimizer.learning_rate`. A learning rate of the grid is constant.
    """

    seeds: tuple[int, ...] = ()
    learning_rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if any(not 0 <= seed <= MAX_SEED for seed in self.seeds):
            raise ValueError(f"seeds: expected 0 to {MAX_SEED} each, got {list(self.seeds)}")
        if any(not (math.isfinite(rate) and rate > 0) for rate in self.learning_rates):
            raise ValueError(f"learning_rates: expected finite numbers above 0, got {list(self.learning_rates)}")
        for name, values in (("seeds", self.seeds), ("learning_rates", self.learning_rates)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: expected each once, got {list(values)}")

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to sweep over."""
        return not self.seeds and not self.learning_rates
