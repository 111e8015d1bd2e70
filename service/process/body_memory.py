"""Memory of long bodies, which is used again: the system clears every page that it hands out, and takes longer for that
than for reading a body into it.

A piece comes back when nothing refers to it any more, whoever did and in whichever thread, so nobody has to say that he
is done with it. What lies unused is little and not for long: at most so many bytes, and none that nobody took between
two calls of `tidy`.
"""

import mmap
import weakref
from contextlib import suppress

import numpy as np

_MAX_UNUSED_BYTES = 32 << 20
_LEAST_BYTES = 1 << 20
"""Of what is kept; of less the heap does so by itself."""
_ROUNDED_BYTES = 2 << 20
"""Of a large page: bodies of about the same length fit into the same pieces."""


class BodyMemory:
    """The pieces of one process."""

    def __init__(self, max_unused_bytes: int = _MAX_UNUSED_BYTES) -> None:
        self._max_unused_bytes = max_unused_bytes
        self._unused: list[mmap.mmap] = []
        self._unused_for_long: list[mmap.mmap] = []
        """Those that were there at the last call of `tidy` too."""

    @property
    def num_unused_bytes(self) -> int:
        """What is kept for the next bodies."""
        return sum(map(len, (*self._unused, *self._unused_for_long)))

    def take(self, num_bytes: int) -> memoryview:
        """So many bytes, at least one, with whatever is in them; they come back by themselves."""
        if num_bytes < _LEAST_BYTES:
            return np.empty(num_bytes, np.uint8).data
        piece = self._found(num_bytes) or _new(num_bytes)
        lent = np.frombuffer(piece, np.uint8, num_bytes)
        # Whatever is made of the view refers to this array, which nobody else has.
        weakref.finalize(lent, self._give_back, piece).atexit = False
        return lent.data

    def tidy(self) -> None:
        """Leave to the system what nobody took since the last call; to be called about twice a second."""
        self._unused_for_long, self._unused = self._unused, []

    def _found(self, num_bytes: int) -> mmap.mmap | None:
        """One that is large enough and no larger than it has to be, the one used last first."""
        for pieces in (self._unused, self._unused_for_long):
            for number in reversed(range(len(pieces))):
                if num_bytes <= len(pieces[number]) < num_bytes + _ROUNDED_BYTES:
                    return pieces.pop(number)
        return None

    def _give_back(self, piece: mmap.mmap) -> None:
        # In any thread: appending is done at once, and a piece too many does not matter.
        if self.num_unused_bytes + len(piece) <= self._max_unused_bytes:
            self._unused.append(piece)


def _new(num_bytes: int) -> mmap.mmap:
    """Memory that goes back to the system when it is freed, unlike the heap's, in large pages where there are any."""
    size = -(-num_bytes // _ROUNDED_BYTES) * _ROUNDED_BYTES
    piece = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            piece.madvise(mmap.MADV_HUGEPAGE)
    return piece
