"""The asynchronous front of engines: every route asks here, with the arguments and answers of `Engine`.

It decides when and where a request's work is done, and whether it is done at all: on the event loop where it is short,
in a thread where it is long, and not when its deadline has passed or too much waits already.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from numpy.typing import NDArray

from service.checks import Floats
from service.engine import Engine
from service.errors import DeadlineExceeded
from service.results import Encoding, Generation, Reconstruction

Result = TypeVar("Result")


class Dispatcher:
    """Brings the work of many requests to the engines.

    Every `deadline` is a time of `time.monotonic()`, or None. Each method raises what Engine's method of the same name
    raises, Overloaded, and DeadlineExceeded.
    """

    def __init__(self, max_inline_seconds: float) -> None:
        self._max_inline_seconds = max_inline_seconds
        self._one_at_a_time = anyio.CapacityLimiter(1)

    async def encode(
        self,
        engine: Engine,
        inputs: NDArray[Any],
        *,
        temperature: float = 0.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        num_samples: int = 1,
        first_row: int = 0,
        outputs: Sequence[str] = ("codes",),
        deadline: float | None = None,
    ) -> Encoding:
        """As `Engine.encode`."""
        work = partial(
            engine.encode,
            inputs,
            temperature=temperature,
            relaxation_temperature=relaxation_temperature,
            seed=seed,
            num_samples=num_samples,
            first_row=first_row,
            outputs=outputs,
        )
        return await self.run(work, len(inputs) * num_samples * engine.seconds_per_row, deadline)

    async def decode(self, engine: Engine, codes: NDArray[Any], *, deadline: float | None = None) -> Floats:
        """As `Engine.decode`."""
        return await self.run(partial(engine.decode, codes), len(codes) * engine.seconds_per_row, deadline)

    async def decode_relaxed(self, engine: Engine, relaxed: NDArray[Any], *, deadline: float | None = None) -> Floats:
        """As `Engine.decode_relaxed`."""
        return await self.run(partial(engine.decode_relaxed, relaxed), len(relaxed) * engine.seconds_per_row, deadline)

    async def reconstruct(
        self,
        engine: Engine,
        inputs: NDArray[Any],
        *,
        temperature: float = 0.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        num_samples: int = 1,
        first_row: int = 0,
        outputs: Sequence[str] = ("codes",),
        deadline: float | None = None,
    ) -> Reconstruction:
        """As `Engine.reconstruct`."""
        work = partial(
            engine.reconstruct,
            inputs,
            temperature=temperature,
            relaxation_temperature=relaxation_temperature,
            seed=seed,
            num_samples=num_samples,
            first_row=first_row,
            outputs=outputs,
        )
        return await self.run(work, len(inputs) * num_samples * engine.seconds_per_row, deadline)

    async def generate(
        self,
        engine: Engine,
        num_codes: int = 1,
        *,
        temperature: float = 1.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        first_row: int = 0,
        outputs: Sequence[str] = ("codes",),
        deadline: float | None = None,
    ) -> Generation:
        """As `Engine.generate`."""
        work = partial(
            engine.generate,
            num_codes,
            temperature=temperature,
            relaxation_temperature=relaxation_temperature,
            seed=seed,
            first_row=first_row,
            outputs=outputs,
        )
        return await self.run(work, engine.seconds_to_generate(num_codes), deadline)

    async def run(self, work: Callable[[], Result], estimated_seconds: float, deadline: float | None = None) -> Result:
        """The result of any other work that knows nothing of the event loop, such as reading a long body."""
        if estimated_seconds > self._max_inline_seconds:
            return await anyio.to_thread.run_sync(lambda: _in_time(work, deadline), limiter=self._one_at_a_time)
        return _in_time(work, deadline)


def _in_time(work: Callable[[], Result], deadline: float | None) -> Result:
    if deadline is not None and time.monotonic() >= deadline:
        raise DeadlineExceeded("the deadline passed before the work was begun")
    return work()
