"""Coroutines that are run at once: as if a task had run them, but for when they begin."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from service.process.eager import run_eagerly

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


async def run(scenario: Callable[[asyncio.AbstractEventLoop, list[str]], Awaitable[None]]) -> list[str]:
    """What was done with the results of a scenario."""
    done: list[str] = []
    await scenario(asyncio.get_running_loop(), done)
    return done


def test_what_waits_for_nothing_is_done_before_the_call_returns() -> None:
    async def answer() -> str:
        return "at once"

    async def scenario(loop: asyncio.AbstractEventLoop, done: list[str]) -> None:
        assert run_eagerly(answer(), done.append, loop) is None
        assert done == ["at once"]

    assert asyncio.run(run(scenario)) == ["at once"]


def test_what_waits_goes_on_in_a_task_through_every_wait() -> None:
    async def answer(gate: "asyncio.Future[str]") -> str:
        first = await gate
        await asyncio.sleep(0)
        return first + await asyncio.to_thread(lambda: " and later")

    async def scenario(loop: asyncio.AbstractEventLoop, done: list[str]) -> None:
        gate = loop.create_future()
        task = run_eagerly(answer(gate), done.append, loop)
        assert task is not None
        assert not done
        gate.set_result("now")
        await task

    assert asyncio.run(run(scenario)) == ["now and later"]


def test_the_first_step_and_the_rest_see_one_context_which_is_not_the_callers() -> None:
    async def answer() -> str:
        token = WHO.set("somebody")
        await asyncio.sleep(0)
        seen = WHO.get()
        WHO.reset(token)  # raises in another context than that of the set
        return seen

    async def scenario(loop: asyncio.AbstractEventLoop, done: list[str]) -> None:
        task = run_eagerly(answer(), done.append, loop)
        assert WHO.get() == "nobody"
        assert task is not None
        await task

    assert asyncio.run(run(scenario)) == ["somebody"]


def test_what_is_raised_at_once_is_raised_to_the_caller() -> None:
    async def answer() -> str:
        raise ValueError("at once")

    async def scenario(loop: asyncio.AbstractEventLoop, done: list[str]) -> None:
        with pytest.raises(ValueError, match="at once"):
            run_eagerly(answer(), done.append, loop)

    assert asyncio.run(run(scenario)) == []


@pytest.mark.parametrize("is_handled", [True, False])
def test_what_a_wait_raises_is_raised_where_the_coroutine_waits(is_handled: bool) -> None:
    async def answer(gate: "asyncio.Future[str]") -> str:
        try:
            return await gate
        except ValueError:
            if not is_handled:
                raise
            return "handled"

    async def scenario(loop: asyncio.AbstractEventLoop, done: list[str]) -> None:
        gate = loop.create_future()
        task = run_eagerly(answer(gate), done.append, loop)
        assert task is not None
        gate.set_exception(ValueError("later"))
        if is_handled:
            await task
        else:
            with pytest.raises(ValueError, match="later"):
                await task

    assert asyncio.run(run(scenario)) == (["handled"] if is_handled else [])


def test_a_cancelled_task_ends_the_coroutine_where_it_waits() -> None:
    ended = []

    async def answer(gate: "asyncio.Future[str]") -> str:
        try:
            return await gate
        finally:
            ended.append(gate.cancelled())

    async def scenario(loop: asyncio.AbstractEventLoop, done: list[str]) -> None:
        task = run_eagerly(answer(loop.create_future()), done.append, loop)
        assert task is not None
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert asyncio.run(run(scenario)) == []
    assert ended == [True]
