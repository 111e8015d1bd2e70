"""What every source of inputs offers: rows, in order, in batches of bounded size."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from service.errors import FileRefused

OnRefused = Callable[[FileRefused], None]
"""Told of each part of a source that is passed over. Raises, if the source should stop there."""


class Rows(NamedTuple):
    """Some rows: inputs [B, ...], and what each is called where the source has names."""

    inputs: NDArray[Any]
    ids: list[str] | None


class RowSource(Protocol):
    """Rows of inputs that can be read once, or more often where they lie in files."""

    name: str
    has_ids: bool

    def num_rows(self) -> int | None:
        """How many rows there are, as far as that can be known beforehand: refused ones may be among them."""
        ...

    def batches(self, rows: int) -> Iterator[Rows]:
        """All rows, 1 to `rows` at a time. Raises FileRefused, which names the file and the row."""
        ...
