"""The asynchronous front of engines: every route asks here, with an operation or with the arguments of `Engine`.

It decides when and where a request's work is done, and whether it is done at all:

- Rows of requests that come together share the runs of each graph (`service.batching`). Requests of more rows than one
  run takes are done in parts, so that many small ones pass between them.
- What is short is done on the event loop: handing 40 microseconds of work to a thread costs more than the work. What
  would hold the loop for longer than `max_inline_seconds` is done in a thread; ONNX Runtime and numpy release the
  interpreter while they compute.
- At most `max_queue_rows` rows are admitted at a time; the next request is turned away at once, with the time that
  those need at the rate of late.
- Nothing is begun for a request whose deadline has passed, or whose caller has left.
"""

import asyncio
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar, Unpack

from numpy.typing import NDArray

from models.codes import Codes
from models.manifest import Role
from service.batching import Batcher, BatchLimits, Ran
from service.checks import Floats
from service.engine import EncodeParameters, Engine, GenerateParameters
from service.errors import DeadlineExceeded, Overloaded
from service.operations import Arrays, Encode, Generate, Operation, Reconstruct, in_parts, joined
from service.prior import RunGraph
from service.results import Encoding, Generation, Reconstruction

Result = TypeVar("Result")

_MAX_RUN_SECONDS = 0.05
"""Runs of slow models have fewer rows than may be, so that nobody waits for them much longer than this."""

_ENOUGH_ROWS = 16
"""From here on a row costs hardly less in a longer run, on the CPU."""

_LEAST_HELD_SECONDS = 0.001
"""What the event loop may be held for even where all runs are made in a thread."""

_LEAST_SECONDS_PER_ROW = 1e-8
_CHECKED_SECONDS_PER_BYTE = 1e-9


class DispatchLimits(NamedTuple):
    """How much is done at once, and where."""

    max_batch_wait_seconds: float
    max_queue_rows: int
    max_inline_seconds: float


class Watch(Protocol):
    """Hears of all that is done, on the event loop. It must be quick."""

    def ran(self, engine: Engine, role: Role, ran: Ran) -> None:
        """A graph of the engine was run."""

    def answered(self, engine: Engine, num_rows: int, seconds: float, *, is_error: bool) -> None:
        """A request of so many rows, times samples, that was let in or turned away, got an answer or an error."""

    def encoded(self, engine: Engine, inputs: NDArray[Any], codes: Codes, *, is_sampled: bool) -> None:
        """Codes [B, N], or [B, S, N], were made of inputs [B, ...], at a temperature above 0 or at 0."""

    def near_ties(self, engine: Engine, num_rows: int) -> None:
        """So many rows, times samples, were found to be near ties, of a request that asked for them."""

    def drawn(self, engine: Engine, num_codes: int) -> None:
        """Codes were drawn from the prior."""


class Nobody:
    """Who watches where nobody does."""

    def ran(self, engine: Engine, role: Role, ran: Ran) -> None:
        """Nothing is done."""

    def answered(self, engine: Engine, num_rows: int, seconds: float, *, is_error: bool) -> None:
        """Nothing is done."""

    def encoded(self, engine: Engine, inputs: NDArray[Any], codes: Codes, *, is_sampled: bool) -> None:
        """Nothing is done."""

    def near_ties(self, engine: Engine, num_rows: int) -> None:
        """Nothing is done."""

    def drawn(self, engine: Engine, num_codes: int) -> None:
        """Nothing is done."""


class Dispatcher:
    """Brings the work of many requests to the engines. For one event loop.

    Every `deadline` is a time of `time.monotonic()`, or None. Each method raises what Engine's method of the same name
    raises, Overloaded, and DeadlineExceeded.
    """

    def __init__(self, limits: DispatchLimits, watch: Watch | None = None) -> None:
        self._limits = limits
        self._watch = watch or Nobody()
        self._backlog = Backlog(limits.max_queue_rows)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._desks: dict[int, _Desk] = {}

    @property
    def num_queued_rows(self) -> int:
        """Rows, times samples, of all requests that were admitted and not answered."""
        return self._backlog.num_rows

    async def encode(
        self,
        engine: Engine,
        inputs: NDArray[Any],
        *,
        deadline: float | None = None,
        **parameters: Unpack[EncodeParameters],
    ) -> Encoding:
        """As `Engine.encode`."""
        operation = await self._checked(partial(engine.to_encode, inputs, **parameters), inputs, deadline)
        return engine.encoding(operation, await self.answer(engine, operation, deadline))

    async def decode(self, engine: Engine, codes: NDArray[Any], *, deadline: float | None = None) -> Floats:
        """As `Engine.decode`."""
        operation = await self._checked(partial(engine.to_decode, codes), codes, deadline)
        return (await self.answer(engine, operation, deadline))["outputs"]

    async def decode_relaxed(self, engine: Engine, relaxed: NDArray[Any], *, deadline: float | None = None) -> Floats:
        """As `Engine.decode_relaxed`."""
        operation = await self._checked(partial(engine.to_decode_relaxed, relaxed), relaxed, deadline)
        return (await self.answer(engine, operation, deadline))["outputs"]

    async def reconstruct(
        self,
        engine: Engine,
        inputs: NDArray[Any],
        *,
        deadline: float | None = None,
        **parameters: Unpack[EncodeParameters],
    ) -> Reconstruction:
        """As `Engine.reconstruct`."""
        operation = await self._checked(partial(engine.to_reconstruct, inputs, **parameters), inputs, deadline)
        return engine.reconstruction(operation, await self.answer(engine, operation, deadline))

    async def generate(
        self,
        engine: Engine,
        num_codes: int = 1,
        *,
        deadline: float | None = None,
        **parameters: Unpack[GenerateParameters],
    ) -> Generation:
        """As `Engine.generate`."""
        operation = engine.to_generate(num_codes, **parameters)
        return engine.generation(operation, await self.answer(engine, operation, deadline))

    async def run(self, work: Callable[[], Result], estimated_seconds: float, deadline: float | None = None) -> Result:
        """The result of any other work that knows nothing of the event loop, such as reading a long body."""
        if estimated_seconds <= self._limits.max_inline_seconds:
            return _in_time(work, deadline)
        return await asyncio.get_running_loop().run_in_executor(self._thread, _in_time, work, deadline)

    async def answer(self, engine: Engine, operation: Operation, deadline: float | None = None) -> Arrays:
        """What an operation of the engine finds, from runs that it shares with others."""
        began, is_error = time.monotonic(), True
        num_rows = operation.num_rows * operation.num_samples
        try:
            found = await self._found(engine, operation, num_rows, deadline)
            is_error = False
        finally:
            self._watch.answered(engine, num_rows, time.monotonic() - began, is_error=is_error)
        self._tell_of(engine, operation, found)
        return found

    def _tell_of(self, engine: Engine, operation: Operation, found: Arrays) -> None:
        """Which codes were made."""
        if isinstance(operation, Generate):
            self._watch.drawn(engine, operation.num_codes)
            return
        encode = operation.encode if isinstance(operation, Reconstruct) else operation
        if not isinstance(encode, Encode):
            return
        if (codes := found.get("codes")) is not None:
            self._watch.encoded(engine, encode.rows, codes, is_sampled=not encode.sampling.is_deterministic)
        if (near_ties := found.get("near_ties")) is not None:
            self._watch.near_ties(engine, int(near_ties.sum()))

    async def _checked(self, check: Callable[[], Result], array: NDArray[Any], deadline: float | None) -> Result:
        return await self.run(check, array.nbytes * _CHECKED_SECONDS_PER_BYTE, deadline)

    async def _found(self, engine: Engine, operation: Operation, num_rows: int, deadline: float | None) -> Arrays:
        desk = self._desks.get(id(engine)) or self._open(engine)
        max_rows, run = self._rows_of_a_part(desk.max_rows, operation, num_rows), desk.runs(deadline)
        self._backlog.admit(num_rows)
        try:
            if num_rows <= max_rows or operation.is_one_run:
                return await operation.arrays(run, max_rows)
            found = [await part.arrays(run, max_rows) for part in in_parts(operation, max_rows)]
            size_bytes = sum(array.nbytes for part in found for array in part.values())
            return await self.run(partial(joined, found), size_bytes * _CHECKED_SECONDS_PER_BYTE)
        finally:
            self._backlog.leave(num_rows)

    def _rows_of_a_part(self, max_rows: int, operation: Operation, num_rows: int) -> int:
        """So few that what is done between runs, on the event loop, takes no longer than a run there may.

        That is drawing noise above all. It matters where runs have hundreds of rows, on a GPU.
        """
        if num_rows <= _ENOUGH_ROWS:
            return max_rows
        seconds = max(self._limits.max_inline_seconds, _LEAST_HELD_SECONDS)
        return min(max_rows, max(_ENOUGH_ROWS, int(seconds * num_rows / operation.seconds_beside_runs)))

    def _open(self, engine: Engine) -> "_Desk":
        """Batchers of an engine's graphs. They are gone with the engine, which they do not keep."""
        max_rows = engine.max_rows_per_run
        # Where a run takes as long with more rows as with one, a row was measured to cost nothing.
        per_row = max(_LEAST_SECONDS_PER_ROW, *(cost.seconds_per_row for cost in engine.costs.values()))
        num_inline = int(self._limits.max_inline_seconds / per_row)
        # Runs on the event loop where enough rows fit into one to be cheap, and not so long that everybody waits.
        longest = num_inline if num_inline >= _ENOUGH_ROWS else int(_MAX_RUN_SECONDS / per_row)
        max_rows = max(1, min(max_rows, longest))
        here = weakref.ref(engine)
        limits = BatchLimits(max_rows, self._limits.max_batch_wait_seconds, self._limits.max_inline_seconds)
        desk = _Desk(
            max_rows,
            {
                role: Batcher(
                    partial(_run_graph, here, role), cost.seconds, limits, self._thread, partial(self._ran, here, role)
                )
                for role, cost in engine.costs.items()
            },
        )
        self._desks[id(engine)] = desk
        weakref.finalize(engine, self._desks.pop, id(engine), None)
        return desk

    def _ran(self, engine: "weakref.ref[Engine]", role: Role, ran: Ran) -> None:
        if (engine_here := engine()) is not None:
            self._watch.ran(engine_here, role, ran)


class _Desk(NamedTuple):
    """Where the rows of one engine are brought."""

    max_rows: int
    batchers: dict[Role, Batcher]

    def runs(self, deadline: float | None) -> RunGraph:
        """What runs the engine's graphs for one request."""
        return lambda role, arrays, outputs: self.batchers[role].run(arrays, outputs, deadline=deadline)


def _run_graph(
    engine: "weakref.ref[Engine]", role: Role, arrays: Sequence[NDArray[Any]], outputs: Sequence[str]
) -> list[NDArray[Any]]:
    """Whoever waits for the run holds the engine."""
    engine_here = engine()
    assert engine_here is not None
    return engine_here.run_graph(role, arrays, outputs)


class Backlog:
    """The rows of all requests that were admitted and not answered yet, and how fast they are done."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._rows_per_second = float(max_rows)
        self._num_done, self._since = 0, time.monotonic()
        self.num_rows = 0

    def admit(self, num_rows: int) -> None:
        """Let so many rows in, until they leave. Raises Overloaded when they are too many beside others.

        A request that is alone is always let in: its size was limited where it was read.
        """
        if self.num_rows and self.num_rows + num_rows > self._max_rows:
            raise Overloaded(
                f"expected at most {self._max_rows} rows in the queue, and {self.num_rows} are in it",
                retry_after_seconds=self.num_rows / self._rows_per_second,
            )
        self.num_rows += num_rows

    def leave(self, num_rows: int) -> None:
        """Rows that were admitted are answered, or given up."""
        self.num_rows -= num_rows
        self._num_done += num_rows
        passed = time.monotonic() - self._since
        if passed >= 1.0:
            self._rows_per_second = max(1.0, self._num_done / passed)
            self._num_done, self._since = 0, time.monotonic()


def _in_time(work: Callable[[], Result], deadline: float | None) -> Result:
    if deadline is not None and time.monotonic() >= deadline:
        raise DeadlineExceeded("the deadline passed before the work was begun")
    return work()
