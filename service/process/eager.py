"""Running a coroutine at once, as far as it goes.

A task begins in a later turn of the event loop, which costs as much as a short answer. Most answers wait for nothing:
they are there when the first step of their coroutine is done, without a task. Those that wait go on in one.
(Python has eager tasks from 3.12 on.)
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_eagerly(
    coroutine: Coroutine[Any, Any, Result], done: Callable[[Result], None], loop: asyncio.AbstractEventLoop
) -> "asyncio.Task[None] | None":
    """Call `done` with the result: before this returns None, or in the task that it returns.

    Until the coroutine first waits there is no current task, so it must begin with nothing that asks for one, as
    `asyncio.timeout` does. All of it runs in one context, a copy of the present one. What it raises at once is raised
    here, and what it raises later ends the task.
    """
    context = copy_context()
    try:
        waited_for = context.run(coroutine.send, None)
    except StopIteration as finished:
        done(finished.value)
        return None
    return loop.create_task(_finish(_Begun(coroutine, waited_for), done), context=context)


async def _finish(begun: "_Begun[Result]", done: Callable[[Result], None]) -> None:
    done(await begun)


class _Begun(Awaitable[Result]):
    """A coroutine that waits for something already."""

    def __init__(self, coroutine: Coroutine[Any, Any, Result], waited_for: Any) -> None:
        self._coroutine = coroutine
        self._waited_for = waited_for

    def __await__(self) -> Generator[Any, Any, Result]:
        """What the task would have done from the first step on."""
        while True:
            try:
                sent = yield self._waited_for
            except BaseException as error:  # the coroutine's to handle, cancellation among them
                go_on = partial(self._coroutine.throw, error)
            else:
                go_on = partial(self._coroutine.send, sent)
            try:
                self._waited_for = go_on()
            except StopIteration as finished:
                result: Result = finished.value
                return result
            finally:
                del go_on  # where that holds an error, the error comes to hold this frame
