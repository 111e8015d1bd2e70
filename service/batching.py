"""Rows of many requests, one run. Knows nothing of models or HTTP.

A run takes arrays whose first axis counts rows and answers arrays with as many rows, each of which depends on its own
row alone. So rows of several callers can share a run, which costs less than a run for each.

When a run begins. A caller who is alone is answered at once, without a detour through the event loop. Others who come
within the same turn of the loop wait for its end, and share a run: as a server gets busier, more requests are read in
one turn, and runs grow by themselves. Beyond that a run may be held back until `max_wait_seconds` after the last one,
and is only while fewer callers wait than shared that one: those are likely to come again. Who was alone last time, or
comes after a pause, never waits.

Who takes part. Callers are served in the order in which they would be done if all were served a row in turn (fair
queueing; Demers, Keshav and Shenker 1989): one who brings n rows when each was served r is due at r + n. So a small
caller overtakes large ones that wait, and since r grows with every run, none starves.
One who brings more rows than a run may have is served so many at a time, and comes after each time as if for the rest.
Callers who left, and those whose deadline has passed, are dropped before a run is formed. When a run fails, each of its
callers is run again alone, so that an error reaches only the one who caused it.

Where it runs. On the event loop when it is estimated to be short, in a thread of `executor` when it is not; while that
one computes, those who come gather.
"""

import asyncio
import heapq
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import DeadlineExceeded

Arrays = Sequence[NDArray[Any]]
Run = Callable[[Arrays, Sequence[str]], list[NDArray[Any]]]
"""Input arrays, each of B rows, and names of outputs, to those outputs, each of B rows."""


_TURN_SECONDS = 0.001
"""Within this time of a shared run, the first to come is taken for one of several."""


@dataclass(frozen=True)
class BatchLimits:
    """What a run may be."""

    max_rows: int
    max_wait_seconds: float = 0.0
    max_inline_seconds: float = 0.001
    """A run that is estimated to take longer is not made on the event loop."""


class Ran(NamedTuple):
    """A run that was made."""

    num_rows: int
    seconds: float
    waited_seconds: tuple[float, ...]
    """Of each caller who took part, from asking to its beginning."""


class _Caller:
    """Somebody who waits for rows."""

    __slots__ = ("arrays", "came_at", "deadline", "due", "future", "num_rows", "number", "outputs")

    def __init__(self, arrays: Arrays, outputs: Sequence[str], deadline: float | None, number: int) -> None:
        self.arrays = arrays
        """Of the next run, as is `num_rows`."""
        self.outputs = outputs
        self.deadline = deadline
        self.num_rows = len(arrays[0])
        self.due = 0.0
        self.number = number
        self.came_at = 0.0
        self.future: asyncio.Future[list[NDArray[Any]]] = asyncio.get_running_loop().create_future()

    def take(self, found: list[NDArray[Any]]) -> bool:
        """What a run found; whether it was the last one."""
        self.future.set_result(found)
        return True

    def __lt__(self, other: "_Caller") -> bool:
        return (self.due, self.number) < (other.due, other.number)


class _LargeCaller(_Caller):
    """Somebody whose rows take several runs."""

    __slots__ = ("_all_arrays", "_found", "_max_rows", "_num_done")

    def __init__(
        self, arrays: Arrays, outputs: Sequence[str], deadline: float | None, number: int, max_rows: int
    ) -> None:
        super().__init__(arrays, outputs, deadline, number)
        self._all_arrays = arrays
        self._found: list[NDArray[Any]] = []
        """The outputs of all rows, as far as they were run."""
        self._num_done = 0
        self._max_rows = max_rows
        self._choose()

    def take(self, found: list[NDArray[Any]]) -> bool:
        """What a run found; whether it was the last one."""
        num_rows = len(self._all_arrays[0])
        if not self._found:
            self._found = [np.empty((num_rows, *array.shape[1:]), array.dtype) for array in found]
        end = self._num_done + self.num_rows
        for of_all, array in zip(self._found, found, strict=True):
            of_all[self._num_done : end] = array
        self._num_done = end
        if end < num_rows:
            self._choose()
            return False
        return super().take(self._found)

    def _choose(self) -> None:
        """The rows of the next run."""
        at = slice(self._num_done, self._num_done + self._max_rows)
        self.arrays = [array[at] for array in self._all_arrays]
        self.num_rows = len(self.arrays[0])


class Batcher:
    """Joins the rows that come for one run function. For one event loop."""

    def __init__(
        self,
        run: Run,
        seconds_for: Callable[[int], float],
        limits: BatchLimits,
        executor: Executor | None = None,
        watch: Callable[[Ran], None] = lambda _ran: None,
    ) -> None:
        """`seconds_for` estimates how long a run of that many rows takes; `watch` hears, on the loop, of each made."""
        self._run = run
        self._watch = watch
        self._made: list[Ran] = []
        """Runs that were not told of yet: they may have been made in the thread."""
        self._seconds_for = seconds_for
        self._limits = limits
        self._executor = executor
        self._waiting: list[_Caller] = []
        self._rows_in_turn = 0.0
        """Rows that a caller who was always there would have been served, one in turn with the others."""
        self._num_came = 0
        self._num_shared, self._ended_at = 1, 0.0
        """Callers in the last run, and when it ended."""
        self._turn_end: asyncio.Handle | None = None
        """At which a run begins if somebody waits. Set in each turn of the loop in which there was a run."""
        self._held_back: asyncio.TimerHandle | None = None
        """A run that waits for more to come."""
        self._is_running = False
        """In the thread."""

    async def run(self, arrays: Arrays, outputs: Sequence[str], *, deadline: float | None = None) -> list[NDArray[Any]]:
        """The named outputs for these rows, from a run that others may share.

        Raises DeadlineExceeded when `deadline`, a time of `time.monotonic()`, passes before the run begins, and
        whatever the run raises for these rows.
        """
        num_rows, max_rows = len(arrays[0]), self._limits.max_rows
        if num_rows <= max_rows and self._may_run_at_once(num_rows):
            if deadline is not None and time.monotonic() >= deadline:
                raise _too_late()
            self._turn_end = asyncio.get_running_loop().call_soon(self._begin)
            self._num_shared = 1
            began = time.monotonic()
            found = self._run(arrays, outputs)
            self._watch(Ran(num_rows, time.monotonic() - began, (0.0,)))
            return found
        self._num_came += 1
        caller = (
            _Caller(arrays, outputs, deadline, self._num_came)
            if num_rows <= max_rows
            else _LargeCaller(arrays, outputs, deadline, self._num_came, max_rows)
        )
        self._wait(caller)
        self._schedule()
        return await caller.future

    def _wait(self, caller: _Caller) -> None:
        caller.came_at, caller.due = time.monotonic(), self._rows_in_turn + caller.num_rows
        heapq.heappush(self._waiting, caller)

    def _may_run_at_once(self, num_rows: int) -> bool:
        return (
            self._turn_end is None
            and self._held_back is None
            and not self._is_running
            and not self._expects_others()
            and self._seconds_for(num_rows) <= self._limits.max_inline_seconds
        )

    def _expects_others(self) -> bool:
        """Whether those who shared the last run may be about to come again."""
        pause = max(self._limits.max_wait_seconds, _TURN_SECONDS)
        return self._num_shared > 1 and time.monotonic() - self._ended_at < pause

    def _schedule(self) -> None:
        """Have a run begin at the end of this turn, or when it was held back long enough."""
        if self._is_running or self._turn_end is not None:
            return
        if self._is_worth_waiting():
            if self._held_back is None:
                wait = self._ended_at + self._limits.max_wait_seconds - time.monotonic()
                self._held_back = asyncio.get_running_loop().call_later(wait, self._begin)
            return
        self._turn_end = asyncio.get_running_loop().call_soon(self._begin)

    def _is_worth_waiting(self) -> bool:
        return (
            self._limits.max_wait_seconds > 0
            and len(self._waiting) < self._num_shared
            and self._expects_others()
            and sum(caller.num_rows for caller in self._waiting) < self._limits.max_rows
        )

    def _begin(self) -> None:
        if self._held_back is not None:
            self._held_back.cancel()
        self._turn_end = self._held_back = None
        callers = self._take()
        if not callers:
            return
        num_rows = sum(caller.num_rows for caller in callers)
        self._rows_in_turn += num_rows / (len(callers) + len(self._waiting))
        loop = asyncio.get_running_loop()
        if self._seconds_for(num_rows) <= self._limits.max_inline_seconds:
            self._settle(self._answers(callers))
            # Also when nobody waits: those who come within this turn share a run at its end.
            self._turn_end = loop.call_soon(self._begin)
            return
        self._is_running = True
        loop.run_in_executor(self._executor, self._answers, callers).add_done_callback(self._left_thread)

    def _left_thread(self, answers: "asyncio.Future[list[tuple[_Caller, Any]]]") -> None:
        self._is_running = False
        self._settle(answers.result())
        if self._waiting:
            self._schedule()

    def _settle(self, answers: list[tuple[_Caller, Any]]) -> None:
        self._num_shared, self._ended_at = len(answers), time.monotonic()
        for ran in self._made:
            self._watch(ran)
        self._made.clear()
        for caller, answer in answers:
            if caller.future.done():
                continue
            if isinstance(answer, Exception):
                caller.future.set_exception(answer)
            elif not caller.take(answer):
                self._wait(caller)

    def _take(self) -> list[_Caller]:
        """Those whose turn it is, at most `max_rows` rows together."""
        callers: list[_Caller] = []
        num_rows, now = 0, time.monotonic()
        while self._waiting and num_rows + self._waiting[0].num_rows <= self._limits.max_rows:
            caller = heapq.heappop(self._waiting)
            if caller.future.done():
                continue  # nobody waits for it any more
            if caller.deadline is not None and now >= caller.deadline:
                caller.future.set_exception(_too_late())
                continue
            callers.append(caller)
            num_rows += caller.num_rows
        return callers

    def _answers(self, callers: Sequence[_Caller]) -> list[tuple[_Caller, Any]]:
        """For each its outputs, or the exception that its rows raised."""
        try:
            return list(zip(callers, self._shared_run(callers), strict=True))
        except Exception as error:  # whatever it is, it concerns one of them, and they shall know which
            if len(callers) == 1:
                return [(callers[0], error)]
            return [answer for caller in callers for answer in self._answers([caller])]

    def _shared_run(self, callers: Sequence[_Caller]) -> list[list[NDArray[Any]]]:
        if len(callers) == 1:
            return [self._timed_run(callers, callers[0].arrays, callers[0].outputs)]
        names = list(dict.fromkeys(name for caller in callers for name in caller.outputs))
        joined = [np.concatenate(arrays) for arrays in zip(*(caller.arrays for caller in callers), strict=True)]
        found = dict(zip(names, self._timed_run(callers, joined, names), strict=True))
        shares, start = [], 0
        for caller in callers:
            end = start + caller.num_rows
            shares.append([found[name][start:end] for name in caller.outputs])
            start = end
        return shares

    def _timed_run(self, callers: Sequence[_Caller], arrays: Arrays, outputs: Sequence[str]) -> list[NDArray[Any]]:
        began = time.monotonic()
        found = self._run(arrays, outputs)
        waited = tuple(began - caller.came_at for caller in callers)
        self._made.append(Ran(len(arrays[0]), time.monotonic() - began, waited))
        return found


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline passed before the work was begun")
