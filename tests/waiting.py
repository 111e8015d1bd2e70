"""Waiting for what another process will have done."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], bool], seconds: float = 60, *, every: float = 0.1) -> None:
    """Return once it holds, looked at `every` so many seconds; fail if it does not within so many."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it does not hold after {seconds:.0f} s"
        time.sleep(every)
