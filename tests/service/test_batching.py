"""The batcher over a run function that multiplies: whose rows meet, in which order, and who is left alone."""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching import Batcher, BatchLimits
from service.errors import DeadlineExceeded

POISON = -1.0


class Doubling:
    """Rows [B, 2] and factors [B] to `double` and `times` [B, 2]; remembers the rows of each run."""

    def __init__(self) -> None:
        self.runs: list[list[float]] = []
        self.threads: list[int] = []
        self.times: list[float] = []

    def __call__(self, arrays: Sequence[np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        rows, factors = arrays
        self.times.append(time.monotonic())
        self.runs.append(rows[:, 0].tolist())
        self.threads.append(threading.get_ident())
        if (rows == POISON).any():
            raise ValueError("poison")
        found = {"double": 2 * rows, "times": rows * factors[:, None]}
        return [found[name] for name in outputs]


def rows_of(*values: float) -> list[np.ndarray]:
    rows = np.repeat(np.array(values)[:, None], 2, axis=1)
    return [rows, np.arange(len(values)) + 1.0]


def batcher_of(run: Any, *, inline: bool = True, executor: ThreadPoolExecutor | None = None, **limits: Any) -> Batcher:
    return Batcher(run, lambda _rows: 0.0 if inline else 1.0, BatchLimits(**{"max_rows": 8} | limits), executor)


def in_loop(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


async def first_values(answers: Sequence[Awaitable[Any]]) -> list[list[float]]:
    return [answer[0][:, 0].tolist() for answer in await asyncio.gather(*answers)]


def test_a_lone_caller_is_answered_without_waiting_for_the_loop() -> None:
    run = Doubling()
    coroutine = None

    async def scenario() -> None:
        nonlocal coroutine
        coroutine = batcher_of(run, max_wait_seconds=10.0).run(rows_of(1, 2), ["double"])
        with pytest.raises(StopIteration) as finished:
            coroutine.send(None)
        assert finished.value.value[0][:, 0].tolist() == [2, 4]

    in_loop(scenario)


def test_those_who_come_in_the_same_turn_share_a_run_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Doubling()
    # What is "right after" on a machine that may do something else in between.
    monkeypatch.setattr("service.batching._TURN_SECONDS", 60.0)

    async def scenario() -> None:
        batcher = batcher_of(run)
        answers = [batcher.run(rows_of(value), ["double"]) for value in range(5)]
        assert await first_values(answers) == [[0], [2], [4], [6], [8]]
        assert run.runs == [[0], [1, 2, 3, 4]]
        # Right after a shared run the first is taken for one of several.
        assert await first_values([batcher.run(rows_of(value), ["double"]) for value in (7, 8)]) == [[14], [16]]
        assert run.runs[2:] == [[7, 8]]

    in_loop(scenario)


def test_everyone_gets_the_outputs_asked_for_with_the_parameters_of_each_row() -> None:
    run = Doubling()

    async def scenario() -> None:
        batcher = batcher_of(run)
        await batcher.run(rows_of(0), ["double"])
        wanted = [["double"], ["times"], ["times", "double"]]
        answers = await asyncio.gather(*(batcher.run(rows_of(3, 4), names) for names in wanted))
        values = {"double": [6, 8], "times": [3, 8]}
        assert [[array[:, 0].tolist() for array in answer] for answer in answers] == [
            [values[name] for name in names] for names in wanted
        ]
        assert [len(rows) for rows in run.runs] == [1, 2, 4]

    in_loop(scenario)


def test_a_run_has_at_most_the_rows_allowed_and_one_who_brings_more_is_served_in_several() -> None:
    run = Doubling()

    async def scenario() -> None:
        batcher = batcher_of(run, max_rows=4)
        sizes = [1, 3, 3, 9, 1]
        answers = await first_values([batcher.run(rows_of(*range(size)), ["double"]) for size in sizes])
        assert answers == [[2 * value for value in range(size)] for size in sizes]
        assert all(len(rows) <= 4 for rows in run.runs)
        answer = await batcher.run(rows_of(*range(10)), ["times", "double"])
        assert [array[:, 0].tolist() for array in answer] == [
            [value * (value + 1) for value in range(10)],
            [2 * value for value in range(10)],
        ]
        assert [len(rows) for rows in run.runs[-3:]] == [4, 4, 2]

    in_loop(scenario)


def test_small_callers_pass_between_the_runs_of_a_large_one() -> None:
    run = Doubling()

    async def scenario() -> None:
        batcher = batcher_of(run, max_rows=4)
        large = asyncio.ensure_future(batcher.run(rows_of(*[100] * 80), ["double"]))
        others_large = asyncio.ensure_future(batcher.run(rows_of(*[200] * 80), ["double"]))
        await asyncio.sleep(0)
        for number in range(5):
            before = len(run.runs)
            await batcher.run(rows_of(number), ["double"])
            assert len(run.runs) - before <= 3
        assert not large.done()
        await asyncio.gather(large, others_large)
        # Both are served by turns, so they end at about the same time.
        ends = [max(at for at, rows in enumerate(run.runs) if value in rows) for value in (100, 200)]
        assert abs(ends[0] - ends[1]) <= 2

    in_loop(scenario)


@pytest.mark.parametrize("in_thread", [False, True])
def test_of_a_large_caller_who_leaves_or_is_late_the_rest_is_not_run(in_thread: bool) -> None:
    run = Doubling()

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_of(run, max_rows=4, inline=not in_thread, executor=executor)
            leaves = asyncio.ensure_future(batcher.run(rows_of(*[1] * 4000), ["double"]))
            while len(run.runs) < 3:
                await asyncio.sleep(0)
            leaves.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaves
            await batcher.run(rows_of(7), ["double"])
            assert len(run.runs) < 1000
            with pytest.raises(DeadlineExceeded):
                await batcher.run(rows_of(*[2] * 400_000), ["double"], deadline=time.monotonic() + 0.05)
            assert 0 < len([rows for rows in run.runs if 2 in rows]) < 100_000

    in_loop(scenario)


def test_a_small_caller_overtakes_large_ones_that_wait_and_none_starves() -> None:
    run = Doubling()

    async def scenario() -> None:
        batcher = batcher_of(run, max_rows=8)
        large = [asyncio.ensure_future(batcher.run(rows_of(*[100 + n] * 8), ["double"])) for n in range(6)]
        await asyncio.sleep(0)
        small = [asyncio.ensure_future(batcher.run(rows_of(n), ["double"])) for n in range(3)]
        await asyncio.gather(*large, *small)
        first_of = [rows[0] for rows in run.runs]
        # Some large ones ran before the small ones came; these share the next run, and the others follow in order.
        assert first_of.index(0) <= 3
        first_of.remove(0)
        assert first_of == [100, 101, 102, 103, 104, 105]

        async def keep_coming() -> None:
            for number in range(100):
                await asyncio.gather(*(batcher.run(rows_of(number), ["double"]) for _ in range(4)))

        coming = asyncio.ensure_future(keep_coming())
        before = len(run.runs)
        await batcher.run(rows_of(*[7] * 8), ["double"])
        assert len(run.runs) - before <= 20
        coming.cancel()

    in_loop(scenario)


def test_a_caller_who_left_is_dropped_before_a_run_and_leaves_neighbours_alone() -> None:
    run = Doubling()

    async def scenario() -> None:
        batcher = batcher_of(run)
        tasks = [asyncio.ensure_future(batcher.run(rows_of(value), ["double"])) for value in range(4)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found[2], asyncio.CancelledError)
        assert [answer[0][0, 0] for number, answer in enumerate(found) if number != 2] == [0, 2, 6]
        assert 2 not in [value for rows in run.runs for value in rows]

    in_loop(scenario)


def test_a_deadline_that_passed_is_told_and_nothing_is_run_for_it() -> None:
    run = Doubling()

    async def scenario() -> None:
        batcher = batcher_of(run)
        past = time.monotonic() - 1
        with pytest.raises(DeadlineExceeded):
            await batcher.run(rows_of(9), ["double"], deadline=past)
        answers = [batcher.run(rows_of(n), ["double"], deadline=past if n == 2 else past + 60) for n in range(4)]
        found = await asyncio.gather(*answers, return_exceptions=True)
        assert isinstance(found[2], DeadlineExceeded)
        assert [answer[0][0, 0] for number, answer in enumerate(found) if number != 2] == [0, 2, 6]
        assert not {2, 9} & {value for rows in run.runs for value in rows}

    in_loop(scenario)


def test_rows_that_make_a_run_fail_reach_only_who_brought_them() -> None:
    run = Doubling()

    async def scenario() -> None:
        batcher = batcher_of(run)
        values = [1, 2, POISON, 3]
        found = await asyncio.gather(
            *(batcher.run(rows_of(value), ["double"]) for value in values), return_exceptions=True
        )
        assert isinstance(found[2], ValueError)
        assert [answer[0][0, 0] for number, answer in enumerate(found) if number != 2] == [2, 4, 6]

    in_loop(scenario)


def test_long_runs_are_made_in_the_thread_one_at_a_time_while_others_gather() -> None:
    run, here = Doubling(), threading.get_ident()

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_of(run, inline=False, executor=executor)
            tasks = [asyncio.ensure_future(batcher.run(rows_of(value), ["double"])) for value in range(4)]
            assert await first_values(tasks) == [[0], [2], [4], [6]]
            assert here not in run.threads
            with pytest.raises(ValueError, match="poison"):
                await batcher.run(rows_of(POISON), ["double"])

    in_loop(scenario)


async def shared_by_three(batcher: Batcher, run: Doubling) -> None:
    """A run of three callers, after one of the first alone."""
    await asyncio.gather(*(batcher.run(rows_of(value), ["double"]) for value in range(4)))
    assert run.runs == [[0], [1, 2, 3]]


def test_a_run_waits_for_those_who_shared_the_last_one_and_for_nobody_else() -> None:
    run = Doubling()

    async def scenario() -> None:
        batcher = batcher_of(run, max_wait_seconds=20.0)
        await shared_by_three(batcher, run)

        async def later(value: int) -> None:
            await asyncio.sleep(0.01 * value)
            await batcher.run(rows_of(value), ["double"])

        begun = time.monotonic()
        await asyncio.gather(*(later(value) for value in range(3)))
        assert run.runs[2:] == [[0, 1, 2]]
        assert time.monotonic() - begun < 15

    in_loop(scenario)


def test_a_run_is_held_back_no_longer_than_allowed_and_who_was_alone_never_is() -> None:
    run = Doubling()

    async def scenario() -> None:
        batcher = batcher_of(run, max_wait_seconds=0.2)
        await shared_by_three(batcher, run)
        await batcher.run(rows_of(9), ["double"])
        assert run.times[2] - run.times[1] >= 0.2
        batcher = batcher_of(run, max_wait_seconds=20.0)
        begun = time.monotonic()
        for _ in range(2):
            await batcher.run(rows_of(9), ["double"])
        assert time.monotonic() - begun < 15

    in_loop(scenario)


def test_after_a_pause_nobody_waits_for_those_of_before() -> None:
    run = Doubling()

    async def scenario() -> None:
        batcher = batcher_of(run, max_wait_seconds=0.05)
        await asyncio.gather(*(batcher.run(rows_of(value), ["double"]) for value in range(4)))
        await asyncio.sleep(0.06)
        coroutine = batcher.run(rows_of(5), ["double"])
        with pytest.raises(StopIteration):
            coroutine.send(None)

    in_loop(scenario)


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=30),
    max_rows=st.integers(1, 10),
    max_wait=st.sampled_from([0.0, 0.002]),
    seed=st.integers(0, 2**32),
    in_thread=st.booleans(),
)
def test_whatever_comes_whenever_every_caller_gets_what_its_rows_make(
    sizes: list[int], max_rows: int, max_wait: float, seed: int, in_thread: bool
) -> None:
    """With callers who leave, deadlines that pass, and rows that fail, at random."""
    dice, run = random.Random(seed), Doubling()

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_of(
                run, max_rows=max_rows, max_wait_seconds=max_wait, inline=not in_thread, executor=executor
            )

            async def call(number: int, size: int, fate: str) -> None:
                for _ in range(dice.randrange(3)):
                    await asyncio.sleep(0)
                values = [1000.0 * number + index for index in range(size)]
                if fate == "fails":
                    values[dice.randrange(size)] = POISON
                late = {"deadline": 0.0} if fate == "late" else {}
                answer = await batcher.run(rows_of(*values), ["times"], **late)
                assert answer[0][:, 0].tolist() == [value * (index + 1) for index, value in enumerate(values)]

            fates = [dice.choice(["good", "good", "good", "fails", "late", "leaves"]) for _ in sizes]
            tasks = [asyncio.ensure_future(call(*each)) for each in zip(range(len(sizes)), sizes, fates, strict=True)]
            await asyncio.sleep(0)
            for task, fate in zip(tasks, fates, strict=True):
                if fate == "leaves":
                    task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            expected = {"good": type(None), "fails": ValueError, "late": DeadlineExceeded}
            for answer, fate in zip(found, fates, strict=True):
                if fate == "leaves":
                    assert answer is None or isinstance(answer, asyncio.CancelledError)
                else:
                    assert type(answer) is expected[fate], answer

    in_loop(scenario)
    assert all(len(rows) <= max_rows for rows in run.runs)
