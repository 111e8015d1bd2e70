"""Where work is done: short work at once, on the event loop; long work in a thread, so that others are answered.

Handing 40 microseconds of work to a thread costs more than the work. A second of it on the event loop keeps health
probes waiting. ONNX Runtime and numpy release the interpreter while they compute.
"""

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

Result = TypeVar("Result")


class Worker:
    """One thread for long work, in the order it comes."""

    def __init__(self, max_inline_seconds: float) -> None:
        self._max_inline_seconds = max_inline_seconds
        self._one_at_a_time = anyio.CapacityLimiter(1)

    async def run(self, work: Callable[[], Result], *, estimated_seconds: float) -> Result:
        """The result of `work`, which knows nothing of the event loop. Its errors are raised here."""
        if estimated_seconds <= self._max_inline_seconds:
            return work()
        return await anyio.to_thread.run_sync(work, limiter=self._one_at_a_time)
