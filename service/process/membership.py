"""A worker's place among the workers: its line on the board, and its way to tell the others something."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from service.observation.arena import Arena
from service.process.board import Board, Pen, Phase
from service.process.control import Alone, Control


@dataclass(frozen=True)
class Membership:
    """What the application knows of the process it runs in, and of the other workers."""

    board: Board
    arena: Arena
    place: int
    control: Control

    @classmethod
    def alone(cls) -> "Membership":
        """Of an application in a process without a supervisor, which is its only worker and serves already."""
        board = Board.create(1)
        pen = board.pen(0)
        pen.enter(os.getpid(), 0)
        pen.models_ready(True)
        pen.phase(Phase.SERVING)
        return cls(board, Arena.create(1), 0, Alone())

    @property
    def slot(self) -> int:
        """Which of the workers that there should be this one is: 0, 1, ..."""
        return self.board.line(self.place).slot

    @property
    def pen(self) -> Pen:
        """Writes this worker's line."""
        return self.board.pen(self.place)

    def obstacles(self, *, saturated_seconds: float) -> Iterator[str]:
        """Why the service as a whole should get no new requests, whatever this worker's own models say.

        A queue that is full for a moment is no obstacle: requests are refused at once, and that is that. When those
        of all workers have been full for `saturated_seconds`, somebody else should get the traffic.
        """
        if self.board.stopping:
            yield "the service is stopping"
        serving = [line for line in self.board.lines() if line.phase is Phase.SERVING]
        missing = self.board.num_slots - len({line.slot for line in serving})
        if missing:
            yield f"{missing} of {self.board.num_slots} workers are not there yet"
        if any(not line.models_ready for line in serving):
            yield "not every worker serves all models"
        before = time.monotonic_ns() - int(saturated_seconds * 1e9)
        if serving and all(0 < line.saturated_since_ns <= before for line in serving):
            yield "the queues have been full for too long"
