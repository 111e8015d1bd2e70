"""What was done for each model, counted where it is done: rows, runs, times, errors, and over several workers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tiny_models import TINY_BINARY

from models.manifest import Role
from models.repository import Repository
from service.batching import Ran
from service.dispatch import Dispatcher, DispatchLimits, Nobody
from service.engine import Engine
from service.errors import DeadlineExceeded, Overloaded
from service.open_inference.statistics import model_stat
from service.statistics import Duration, Statistics

KEY = ("tiny-binary", 1)


class Told(Nobody):
    """Tells statistics what a dispatcher does, as the service's tally does beside other things."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics

    def ran(self, engine: Engine, role: Role, ran: Ran) -> None:
        self._statistics.ran(engine, role, ran)

    def answered(self, engine: Engine, num_rows: int, seconds: float, *, is_error: bool) -> None:
        self._statistics.answered(engine, num_rows, seconds, is_error=is_error)


class Blocks:
    """Memory of several workers."""

    def __init__(self) -> None:
        self._of_workers: list[dict[str, list[float]]] = []

    def join(self) -> Statistics:
        """Of one more worker."""
        mine: dict[str, list[float]] = {}
        self._of_workers.append(mine)
        return Statistics(
            lambda name, size: mine.setdefault(name, [0.0] * size),
            lambda: [block for worker in self._of_workers for block in worker.items()],
        )


@pytest.fixture(scope="module")
def engine(tiny_repository: Path) -> Engine:
    return Engine.load(Repository(tiny_repository).read("tiny-binary"), device="cpu")


def limits(max_queue_rows: int = 1000) -> DispatchLimits:
    return DispatchLimits(max_batch_wait_seconds=0.0, max_queue_rows=max_queue_rows, max_inline_seconds=0.01)


def work_with(statistics: Statistics, scenario: Callable[[Dispatcher], Awaitable[None]], **options: int) -> None:
    async def run() -> None:
        await scenario(Dispatcher(limits(**options), Told(statistics)))

    asyncio.run(run())


def test_requests_count_as_rows_and_runs_as_executions(engine: Engine) -> None:
    statistics = Blocks().join()
    before = time.time() * 1000

    async def scenario(dispatcher: Dispatcher) -> None:
        await dispatcher.encode(engine, TINY_BINARY.inputs(5))
        await dispatcher.decode(engine, TINY_BINARY.codes(3))
        await dispatcher.reconstruct(engine, TINY_BINARY.inputs(2), temperature=1.0, seed=1, num_samples=3)

    work_with(statistics, scenario)
    found = statistics.totals()[KEY]
    assert found.inference_count == 5 + 3 + 2 * 3
    assert found.success.count == 3
    assert found.fail == Duration()
    # encoder; decoder; encoder, sampler and decoder
    assert sum(run.count for run in found.runs.values()) == 5
    assert {num_rows: run.count for num_rows, run in found.runs.items()} == {5: 1, 3: 1, 2: 1, 6: 2}
    assert found.queue.count == 5
    assert 0 < sum(run.ns for run in found.runs.values()) <= found.success.ns
    assert before - 1 <= found.last_inference_ms <= time.time() * 1000


def test_requests_that_share_a_run_wait_for_it_and_make_one_execution(engine: Engine) -> None:
    statistics = Blocks().join()

    async def scenario(dispatcher: Dispatcher) -> None:
        await asyncio.gather(*(dispatcher.encode(engine, TINY_BINARY.inputs(2)) for _ in range(8)))

    work_with(statistics, scenario)
    found = statistics.totals()[KEY]
    assert found.inference_count == 16
    assert found.success.count == found.queue.count == 8
    assert sum(run.count for run in found.runs.values()) < 8
    assert sum(num_rows * run.count for num_rows, run in found.runs.items()) == 16
    assert found.queue.ns > 0


def test_requests_that_are_turned_away_or_too_late_count_as_failed(engine: Engine) -> None:
    statistics = Blocks().join()

    async def scenario(dispatcher: Dispatcher) -> None:
        with pytest.raises(DeadlineExceeded):
            await dispatcher.decode(engine, TINY_BINARY.codes(1), deadline=time.monotonic())
        results = await asyncio.gather(
            *(dispatcher.encode(engine, TINY_BINARY.inputs(3)) for _ in range(3)), return_exceptions=True
        )
        assert sum(isinstance(result, Overloaded) for result in results) >= 1

    work_with(statistics, scenario, max_queue_rows=4)
    found = statistics.totals()[KEY]
    assert found.fail.count >= 1
    assert found.success.count + found.fail.count >= 3


def test_whichever_worker_is_asked_answers_for_all(engine: Engine) -> None:
    blocks = Blocks()
    first, second = blocks.join(), blocks.join()

    async def scenario(dispatcher: Dispatcher) -> None:
        await dispatcher.encode(engine, TINY_BINARY.inputs(4))

    for statistics in (first, second, second):
        work_with(statistics, scenario)
    assert first.totals() == second.totals()
    assert first.totals()[KEY].inference_count == 12
    assert {num_rows: run.count for num_rows, run in first.totals()[KEY].runs.items()} == {4: 3}


def test_a_version_that_nobody_asked_anything_of_has_statistics_of_zeros() -> None:
    stat = model_stat("quiet", 3, None)
    assert (stat["name"], stat["version"], stat["inference_count"], stat["batch_stats"]) == ("quiet", "3", 0, [])
    assert set(stat["inference_stats"]["success"].values()) == {0}
