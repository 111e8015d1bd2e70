"""Schedules: pure functions of the step, so that a resumed run continues exactly where it was.

A schedule is written in the configuration as a table with a `kind`; without one it is exponential, and a bare number is
a constant. All of them stay within the values they name, and are used for relaxation temperature, beta and learning
rate alike; what range those need is theirs to say, with `smallest`.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field


@dataclass(frozen=True, kw_only=True)
class ConstantSchedule:
    """The same value in every step."""

    kind: Literal["constant"] = "constant"
    value: float

    def __post_init__(self) -> None:
        _check_finite(value=self.value)


@dataclass(frozen=True, kw_only=True)
class ExponentialSchedule:
    """Exponential decay to a floor, `max(minimum, initial exp(-rate step))`.

    The step is rounded down to a multiple of `update_every` (Jang, Gu and Poole 2016 use 500 and 1000, rates 1e-5
    and 1e-4, minimum 0.5). A rate of 0 keeps the initial value.
    """

    kind: Literal["exponential"] = "exponential"
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


@dataclass(frozen=True, kw_only=True)
class LinearSchedule:
    """A straight line from `initial` at `start_step` to `final` at `end_step`; constant before and after."""

    kind: Literal["linear"] = "linear"
    initial: float
    final: float
    start_step: int = 0
    end_step: int

    def __post_init__(self) -> None:
        _check_ends(self)


@dataclass(frozen=True, kw_only=True)
class CosineSchedule:
    """Half a cosine from `initial` at `start_step` to `final` at `end_step`, level at both; constant before and after.

    `final + (initial - final) (1 + cos(pi t)) / 2`, t from 0 to 1: Loshchilov and Hutter 2016, arXiv:1608.03983,
    equation 5, without restarts.
    """

    kind: Literal["cosine"] = "cosine"
    initial: float
    final: float
    start_step: int = 0
    end_step: int

    def __post_init__(self) -> None:
        _check_ends(self)


@dataclass(frozen=True, kw_only=True)
class PiecewiseSchedule:
    """Through the points (`steps[i]`, `values[i]`); constant before the first and after the last.

    Between two points it is a line ("linear"), half a cosine ("cosine"), or the value of the earlier one ("hold", the
    only one that jumps). A warm-up is `steps = [0, 1000]`, `values = [0.0, 1.0]`; a decay after it, one more point.
    """

    kind: Literal["piecewise"] = "piecewise"
    steps: tuple[int, ...]
    values: tuple[float, ...]
    interpolation: Literal["linear", "cosine", "hold"] = "linear"

    def __post_init__(self) -> None:
        if not self.steps or len(self.steps) != len(self.values):
            raise ValueError(
                f"values: expected one for each of the steps, and at least one, "
                f"got {len(self.values)} for {len(self.steps)} steps"
            )
        if self.steps[0] < 0 or any(before >= after for before, after in pairwise(self.steps)):
            raise ValueError(f"steps: expected 0 or more, and each above the one before, got {list(self.steps)}")
        _check_finite(**{f"values.{number}": value for number, value in enumerate(self.values)})


Schedule = ConstantSchedule | ExponentialSchedule | LinearSchedule | CosineSchedule | PiecewiseSchedule

SCHEDULES: dict[str, type[Schedule]] = {
    "constant": ConstantSchedule,
    "exponential": ExponentialSchedule,
    "linear": LinearSchedule,
    "cosine": CosineSchedule,
    "piecewise": PiecewiseSchedule,
}
"""Every schedule by its kind."""


def as_table(given: Any) -> Any:
    """What a configuration may hold for a schedule, as a table with its `kind`; a schedule is returned as it is.

    A number becomes that constant, a table without a kind an exponential one. Raises ValueError on anything else, and
    on a kind that does not exist.
    """
    if isinstance(given, Schedule):
        return given
    if isinstance(given, int | float) and not isinstance(given, bool):
        return {"kind": "constant", "value": given}
    if not isinstance(given, dict):
        raise ValueError(f"expected a number or a table with a kind, got {given!r}")
    kind = given.get("kind", "exponential")
    if kind not in SCHEDULES:
        raise ValueError(f"kind: expected one of {', '.join(SCHEDULES)}, got {kind!r}")
    # What pydantic takes strictly from here on is a tuple; a configuration file has lists.
    options = {name: tuple(option) if isinstance(option, list) else option for name, option in given.items()}
    return {**options, "kind": kind}


ScheduleOption = Annotated[Annotated[Schedule, Field(discriminator="kind")], BeforeValidator(as_table)]
"""The type of a schedule in a configuration: pydantic takes what `as_table` takes."""


def value(schedule: Schedule, step: int) -> float:
    """The value used in the step with this number, counted from 0."""
    match schedule:
        case ConstantSchedule():
            return schedule.value
        case ExponentialSchedule():
            step -= step % schedule.update_every
            return max(schedule.minimum, schedule.initial * math.exp(-schedule.rate * step))
        case LinearSchedule() | CosineSchedule():
            ends, values = (schedule.start_step, schedule.end_step), (schedule.initial, schedule.final)
            return _through(ends, values, schedule.kind, step)
        case PiecewiseSchedule():
            return _through(schedule.steps, schedule.values, schedule.interpolation, step)


def smallest(schedule: Schedule) -> float:
    """The smallest value that it names, below which it never falls; for checks before training starts."""
    match schedule:
        case ConstantSchedule():
            return schedule.value
        case ExponentialSchedule():
            return schedule.minimum if schedule.rate > 0 else schedule.initial
        case LinearSchedule() | CosineSchedule():
            return min(schedule.initial, schedule.final)
        case PiecewiseSchedule():
            return min(schedule.values)


def _through(steps: tuple[int, ...], values: tuple[float, ...], interpolation: str, step: int) -> float:
    after = bisect_right(steps, step)
    if after in (0, len(steps)):
        return values[max(0, after - 1)]
    before = after - 1
    if interpolation == "hold":
        return values[before]
    t = (step - steps[before]) / (steps[after] - steps[before])
    if interpolation == "cosine":
        t = (1 - math.cos(math.pi * t)) / 2
    first, last = values[before], values[after]
    # Rounding must not carry it past either end, since `smallest` promises that.
    return min(max(first + (last - first) * t, min(first, last)), max(first, last))


def _check_finite(**numbers: float) -> None:
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise ValueError(f"{name}: expected a finite number, got {number}")


def _check_ends(schedule: LinearSchedule | CosineSchedule) -> None:
    _check_finite(initial=schedule.initial, final=schedule.final)
    start, end = schedule.start_step, schedule.end_step
    if not 0 <= start < end:
        raise ValueError(f"expected 0 <= start_step < end_step, got start_step {start} and end_step {end}")
