"""Cutting what was given into requests, in order and without holding more than one request's worth of it.

Rows keep their numbers: `Chunk.start` says where each begins, the request says it as `first_row`, and the service draws
for each row the noise of its number. So the codes are those of a single request.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Piece:
    """Rows as they were given together: an array [b, ...], or the content of one image file."""

    rows: NDArray[Any] | None = None
    image: bytes = b""
    name: str | None = None
    """The file that it came from."""

    @property
    def num_rows(self) -> int:
        return 1 if self.rows is None else len(self.rows)

    @property
    def row_bytes(self) -> int:
        """What a row takes in a request; an image travels in base64."""
        if self.rows is None:
            return -(-len(self.image) // 3) * 4
        return self.rows.dtype.itemsize * math.prod(self.rows.shape[1:])

    def joins(self, other: "Piece") -> bool:
        """Whether both can go in one request."""
        if self.rows is None or other.rows is None:
            return self.rows is other.rows
        return (self.rows.dtype, self.rows.shape[1:]) == (other.rows.dtype, other.rows.shape[1:])


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows for one request: an array [b, ...], or images."""

    start: int
    """Number of its first row among those given."""
    num_rows: int
    rows: NDArray[Any] | None = None
    images: tuple[bytes, ...] = ()
    pieces: tuple[Piece, ...] = ()

    def name_of(self, row: int) -> str | None:
        """The file that row `row` of the chunk came from, if it came from one."""
        for piece in self.pieces:
            if row < piece.num_rows:
                return piece.name
            row -= piece.num_rows
        return None


class Chunker:
    """Takes pieces and gives chunks: as long as may be, in order."""

    def __init__(self, *, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._start = 0
        self._waiting: list[Piece] = []
        self._num_waiting = 0
        self._bytes_waiting = 0

    def push(self, piece: Piece) -> Iterator[Chunk]:
        """The chunks that are full with it. What is left waits for the next piece."""
        if self._waiting and not self._waiting[0].joins(piece):
            yield self._flush()
        start = 0
        while start < piece.num_rows:
            room = min(self._max_rows - self._num_waiting, self._room_in_bytes(piece.row_bytes))
            if room < 1 and self._waiting:
                yield self._flush()
                continue
            stop = min(start + max(1, room), piece.num_rows)
            self._waiting.append(piece if piece.rows is None else Piece(piece.rows[start:stop], name=piece.name))
            self._num_waiting += stop - start
            self._bytes_waiting += (stop - start) * piece.row_bytes
            start = stop

    def finish(self) -> Iterator[Chunk]:
        """What still waits."""
        if self._waiting:
            yield self._flush()

    def _room_in_bytes(self, row_bytes: int) -> int:
        return (self._max_bytes - self._bytes_waiting) // max(1, row_bytes)

    def _flush(self) -> Chunk:
        arrays = [piece.rows for piece in self._waiting if piece.rows is not None]
        rows = None if not arrays else arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        images = tuple(piece.image for piece in self._waiting if piece.rows is None)
        chunk = Chunk(self._start, self._num_waiting, rows, images, tuple(self._waiting))
        self._start += self._num_waiting
        self._waiting, self._num_waiting, self._bytes_waiting = [], 0, 0
        return chunk
