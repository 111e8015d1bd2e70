"""The board: a page of memory that the supervisor and all workers see, with one line for each worker.

It says who serves and how it goes, so that whichever worker is asked can answer for all: readiness above all. Each line
is written by one process alone, a field is one aligned 64-bit number, and numbers are stored and read whole; so there
are no locks, and a process that is killed while it writes leaves nothing behind that others wait for.

A *slot* is a listening socket and the right to serve it. A *place* is a line of the board. There are twice as many
places as slots, because in a rolling restart a worker and its successor serve the same slot for a while.
"""

import mmap
import os
import tempfile
from dataclasses import dataclass
from enum import IntEnum

_FIELDS = ("pid", "slot", "phase", "models_ready", "queued_rows", "saturated_since_ns", "_", "_")
_LINE = len(_FIELDS)
_AT = {name: index for index, name in enumerate(_FIELDS)}
_WORD = 8
_HEADER = ("num_slots", "stopping", "num_deaths", "_", "_", "_", "_", "_")


class Phase(IntEnum):
    """Where a worker is in its life."""

    ABSENT = 0
    STARTING = 1
    SERVING = 2
    DRAINING = 3
    """It accepts nothing more and finishes what it has."""


@dataclass(frozen=True)
class Line:
    """What the board says of one worker."""

    pid: int
    slot: int
    phase: Phase
    models_ready: bool
    queued_rows: int
    saturated_since_ns: int
    """Since when its queue has been full, in `time.monotonic_ns`; 0 while it is not."""


class Board:
    """The page, mapped into this process."""

    def __init__(self, descriptor: int) -> None:
        """Of a descriptor that `create` made, here or in the process that spawned this one."""
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        self._words = memoryview(self._memory).cast("q")

    @classmethod
    def create(cls, num_slots: int) -> "Board":
        """An empty board; its memory has no name, and goes when the last process that maps it does."""
        descriptor = _anonymous_file()
        os.ftruncate(descriptor, _WORD * (len(_HEADER) + 2 * num_slots * _LINE))
        board = cls(descriptor)
        board._words[0] = num_slots
        return board

    @property
    def num_slots(self) -> int:
        """How many workers there should be."""
        return self._words[0]

    @property
    def num_places(self) -> int:
        """How many lines there are."""
        return 2 * self.num_slots

    @property
    def stopping(self) -> bool:
        """Whether the whole service has been told to stop. Set by the supervisor, once."""
        return bool(self._words[1])

    @property
    def num_deaths(self) -> int:
        """How many workers ended without being told to."""
        return self._words[2]

    def note_death(self) -> None:
        """One more. For the supervisor."""
        self._words[2] += 1

    def stop(self) -> None:
        """Say to everybody that the service stops."""
        self._words[1] = 1

    def line(self, place: int) -> Line:
        """What the line at this place says."""
        start = len(_HEADER) + place * _LINE
        pid, slot, phase, models_ready, queued_rows, since, *_ = self._words[start : start + _LINE]
        return Line(pid, slot, Phase(phase), bool(models_ready), queued_rows, since)

    def lines(self) -> list[Line]:
        """Those of all workers there are."""
        lines = [self.line(place) for place in range(self.num_places)]
        return [line for line in lines if line.phase is not Phase.ABSENT]

    def pen(self, place: int) -> "Pen":
        """What writes the line at this place."""
        return Pen(self._words, len(_HEADER) + place * _LINE)

    def clear(self, place: int) -> None:
        """Nobody is at this place: its worker has ended."""
        start = len(_HEADER) + place * _LINE
        self._words[start + _AT["phase"]] = Phase.ABSENT
        for index in range(_LINE):
            self._words[start + index] = 0


class Pen:
    """Writes one line. A number costs less than a tenth of a microsecond."""

    def __init__(self, words: "memoryview[int]", start: int) -> None:
        self._words = words
        self._start = start

    def enter(self, pid: int, slot: int) -> None:
        """Begin the line of a worker that is starting."""
        self._words[self._start + _AT["slot"]] = slot
        self._words[self._start + _AT["pid"]] = pid
        self.phase(Phase.STARTING)

    def phase(self, phase: Phase) -> None:
        """Where this worker is."""
        self._words[self._start + _AT["phase"]] = phase

    def models_ready(self, ready: bool) -> None:
        """Whether every model that this worker should serve is served."""
        self._words[self._start + _AT["models_ready"]] = ready

    def queued_rows(self, rows: int) -> None:
        """Rows that wait to be run."""
        self._words[self._start + _AT["queued_rows"]] = rows

    def saturated_since(self, nanoseconds: int) -> None:
        """Since when the queue has been full, in `time.monotonic_ns`; 0: it is not."""
        self._words[self._start + _AT["saturated_since_ns"]] = nanoseconds


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("latent-codes-board")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
