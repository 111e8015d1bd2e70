"""Waiting for what another process will have done."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Return once it holds; fail if it does not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it does not hold after {seconds:.0f} s"
        time.sleep(0.1)
