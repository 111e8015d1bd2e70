import math
import tomllib
from dataclasses import asdict
from itertools import pairwise

import pytest
import tomli_w
from pydantic import TypeAdapter, ValidationError

from training.schedules import (
    SCHEDULES,
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    PiecewiseSchedule,
    ScheduleOption,
    smallest,
    value,
)

OPTION = TypeAdapter(ScheduleOption)
WARM_UP_AND_DECAY = {"steps": (100, 200, 400), "values": (0.0, 1.0, 0.2)}
EVERY_KIND = [
    ConstantSchedule(value=0.3),
    ExponentialSchedule(initial=2.0, minimum=0.3, rate=5e-3),
    LinearSchedule(initial=0.0, final=4.0, start_step=50, end_step=350),
    LinearSchedule(initial=0.1, final=0.1, end_step=777),
    CosineSchedule(initial=1.0, final=1 / 16, end_step=300),
    PiecewiseSchedule(**WARM_UP_AND_DECAY),
    PiecewiseSchedule(**WARM_UP_AND_DECAY, interpolation="cosine"),
    PiecewiseSchedule(**WARM_UP_AND_DECAY, interpolation="hold"),
]


def words(schedule):
    return " ".join(filter(None, (schedule.kind, getattr(schedule, "interpolation", ""))))


@pytest.mark.parametrize(
    ("schedule", "table"),
    [
        (ConstantSchedule(value=0.3), {0: 0.3, 10**9: 0.3}),
        (ExponentialSchedule(initial=2.0, minimum=0.1, rate=1e-3), {0: 2.0, 1000: 2 / math.e, 2996: 0.1}),
        (LinearSchedule(initial=0.0, final=1.0, end_step=4), {0: 0.0, 1: 0.25, 3: 0.75, 4: 1.0, 5: 1.0, 10**9: 1.0}),
        (LinearSchedule(initial=1.0, final=0.5, start_step=10, end_step=20), {0: 1.0, 10: 1.0, 15: 0.75, 20: 0.5}),
        (
            CosineSchedule(initial=1.0, final=0.0, start_step=100, end_step=400),
            {0: 1.0, 100: 1.0, 200: 0.75, 250: 0.5, 300: 0.25, 400: 0.0, 10**9: 0.0},
        ),
        (
            PiecewiseSchedule(**WARM_UP_AND_DECAY),
            {0: 0.0, 100: 0.0, 101: 0.01, 150: 0.5, 200: 1.0, 300: 0.6, 400: 0.2, 500: 0.2},
        ),
        (
            PiecewiseSchedule(**WARM_UP_AND_DECAY, interpolation="cosine"),
            {100: 0.0, 150: 0.5, 200: 1.0, 250: 0.6 + 0.4 * math.sqrt(0.5), 300: 0.6, 400: 0.2},
        ),
        (
            PiecewiseSchedule(**WARM_UP_AND_DECAY, interpolation="hold"),
            {0: 0.0, 199: 0.0, 200: 1.0, 399: 1.0, 400: 0.2, 10**9: 0.2},
        ),
        (PiecewiseSchedule(steps=(5,), values=(0.7,)), {0: 0.7, 5: 0.7, 6: 0.7}),
    ],
    ids=lambda given: words(given) if hasattr(given, "kind") else "",
)
def test_the_value_of_a_step(schedule, table):
    assert {step: value(schedule, step) for step in table} == pytest.approx(table, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("schedule", EVERY_KIND, ids=words)
def test_values_stay_within_the_ones_named(schedule):
    values = [value(schedule, step) for step in range(2000)]
    assert min(values) == smallest(schedule)
    assert max(values) <= max(number for number in _numbers(schedule))


def _numbers(schedule):
    names = ("value", "initial", "final")
    return [*(getattr(schedule, name) for name in names if hasattr(schedule, name)), *getattr(schedule, "values", ())]


def test_smallest_is_not_a_floor_that_is_never_reached():
    assert smallest(ExponentialSchedule(initial=1.0, minimum=0.5, rate=0.0)) == 1.0


@pytest.mark.parametrize("schedule", [schedule for schedule in EVERY_KIND if "hold" not in words(schedule)], ids=words)
def test_no_schedule_jumps_unless_it_holds(schedule):
    values = [value(schedule, step) for step in range(2000)]
    # The steepest is the rise from 0 to 4 in 300 steps, or half a cosine of height 1 in 100: pi / 2 / 100.
    assert max(abs(after - before) for before, after in pairwise(values)) < 0.016


@pytest.mark.parametrize(("initial", "final"), [(0.1, 3.3), (3.3, 0.1), (-1.0, 1e-7)])
@pytest.mark.parametrize("kind", [LinearSchedule, CosineSchedule])
def test_between_its_ends_a_schedule_never_turns_back(kind, initial, final):
    schedule = kind(initial=initial, final=final, start_step=7, end_step=1007)
    values = [value(schedule, step) for step in range(1100)]
    assert values == sorted(values, reverse=final < initial)
    assert (values[0], values[-1]) == (initial, final)


@pytest.mark.parametrize("schedule", EVERY_KIND, ids=words)
def test_a_run_that_continues_sees_what_it_would_have_seen(schedule):
    straight = [value(schedule, step) for step in range(500)]
    again = TypeAdapter(ScheduleOption).validate_python(tomllib.loads(tomli_w.dumps(asdict_lists(schedule))))
    assert again == schedule
    assert [value(again, step) for step in reversed(range(500))] == straight[::-1]


def asdict_lists(schedule):
    return {key: list(held) if isinstance(held, tuple) else held for key, held in asdict(schedule).items()}


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("option = 1e-3", ConstantSchedule(value=1e-3)),
        ("option = 2", ConstantSchedule(value=2.0)),
        ("[option]", ExponentialSchedule()),
        (
            "[option]\ninitial = 1.0\nminimum = 0.5\nrate = 5e-5",
            ExponentialSchedule(initial=1.0, minimum=0.5, rate=5e-5),
        ),
        ("[option]\nkind = 'exponential'\nupdate_every = 500", ExponentialSchedule(update_every=500)),
        ("[option]\nkind = 'constant'\nvalue = 0.5", ConstantSchedule(value=0.5)),
        (
            "[option]\nkind = 'cosine'\ninitial = 1\nfinal = 0.0625\nend_step = 150000",
            CosineSchedule(initial=1.0, final=0.0625, end_step=150_000),
        ),
        (
            "[option]\nkind = 'piecewise'\nsteps = [0, 1000]\nvalues = [0, 1]",
            PiecewiseSchedule(steps=(0, 1000), values=(0.0, 1.0)),
        ),
    ],
)
def test_a_configuration_says_a_schedule_in_few_words(toml, expected):
    assert OPTION.validate_python(tomllib.loads(toml)["option"]) == expected


@pytest.mark.parametrize("schedule", EVERY_KIND, ids=words)
def test_a_schedule_given_as_one_is_taken_as_it_is(schedule):
    assert OPTION.validate_python(schedule) is schedule


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (True, "expected a number or a table with a kind, got True"),
        ("fast", "expected a number or a table with a kind, got 'fast'"),
        ({"kind": "cosin"}, "kind: expected one of constant, exponential, linear, cosine, piecewise, got 'cosin'"),
        (math.inf, "value: expected a finite number, got inf"),
        ({"kind": "linear", "initial": 0.0, "final": 1.0}, "end_step"),
        ({"kind": "linear", "initial": math.nan, "final": 1.0, "end_step": 9}, "initial: expected a finite number"),
        (
            {"kind": "cosine", "initial": 0.0, "final": 1.0, "start_step": 9, "end_step": 9},
            "expected 0 <= start_step < end_step, got start_step 9 and end_step 9",
        ),
        ({"kind": "linear", "initial": 0.0, "final": 1.0, "start_step": -1, "end_step": 9}, "got start_step -1"),
        ({"kind": "piecewise", "steps": [], "values": []}, "values: expected one for each of the steps"),
        ({"kind": "piecewise", "steps": [0, 5], "values": [1.0]}, "got 1 for 2 steps"),
        ({"kind": "piecewise", "steps": [0, 5, 5], "values": [1.0, 2.0, 3.0]}, "each above the one before"),
        ({"kind": "piecewise", "steps": [-1, 5], "values": [1.0, 2.0]}, "steps: expected 0 or more"),
        ({"kind": "piecewise", "steps": [0, 5], "values": [1.0, math.nan]}, "values.1: expected a finite number"),
        ({"kind": "piecewise", "steps": [0], "values": [1.0], "interpolation": "spline"}, "linear.*cosine.*hold"),
        ({"minimum": 2.0}, "expected 0 < minimum <= initial"),
    ],
    ids=str,
)
def test_schedules_that_cannot_be_are_refused_with_what_would_work(given, message):
    with pytest.raises(ValidationError, match=message):
        OPTION.validate_python(given)


def test_every_kind_is_known_by_its_name():
    assert {kind: schedule.kind for kind, schedule in SCHEDULES.items()} == {kind: kind for kind in SCHEDULES}
