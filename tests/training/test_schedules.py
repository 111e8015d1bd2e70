import math

import pytest

from training.schedules import ExponentialSchedule, value


@pytest.mark.parametrize(
    ("options", "step", "expected"),
    [
        ({}, 0, 1.0),
        ({}, 1, math.exp(-1e-4)),
        ({}, 6931, math.exp(-0.6931)),
        ({}, 6932, 0.5),  # exp(-1e-4 step) passes 1/2 at 10,000 ln 2 = 6931.5
        ({}, 10**9, 0.5),
        ({"initial": 2.0, "minimum": 0.1, "rate": 1e-3}, 1000, 2 / math.e),
        ({"initial": 2.0, "minimum": 0.1, "rate": 1e-3}, 2995, 2 * math.exp(-2.995)),
        ({"initial": 2.0, "minimum": 0.1, "rate": 1e-3}, 2996, 0.1),
        ({"rate": 0.0}, 10**6, 1.0),
        ({"initial": 0.5, "minimum": 0.5}, 17, 0.5),
        ({"rate": 1e-3, "update_every": 500}, 499, 1.0),
        ({"rate": 1e-3, "update_every": 500}, 500, math.exp(-0.5)),
        ({"rate": 1e-3, "minimum": 0.1, "update_every": 500}, 1499, math.exp(-1.0)),
        ({"rate": 1e-3, "minimum": 0.1, "update_every": 500}, 1500, math.exp(-1.5)),
    ],
)
def test_the_temperature_of_a_step(options, step, expected):
    assert value(ExponentialSchedule(**options), step) == pytest.approx(expected, rel=1e-12)


def test_the_temperature_never_rises_and_reaches_its_minimum():
    config = ExponentialSchedule(initial=1.5, minimum=0.3, rate=7e-4, update_every=13)
    values = [value(config, step) for step in range(4000)]
    assert values == sorted(values, reverse=True)
    assert values[0] == 1.5
    assert values[-1] == 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minimum": 0.0}, "expected 0 < minimum <= initial"),
        ({"minimum": 2.0}, "expected 0 < minimum <= initial, got minimum 2.0 and initial 1.0"),
        ({"initial": math.inf}, "expected 0 < minimum <= initial"),
        ({"initial": math.nan}, "expected 0 < minimum <= initial"),
        ({"minimum": math.nan}, "expected 0 < minimum <= initial"),
        ({"rate": -1e-9}, "rate: expected 0 or more, got -1e-09"),
        ({"rate": math.inf}, "rate: expected 0 or more, got inf"),
        ({"update_every": 0}, "update_every: expected at least 1, got 0"),
    ],
)
def test_schedules_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ExponentialSchedule(**options)
