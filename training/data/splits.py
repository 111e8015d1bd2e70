"""Training, validation and test rows, and how a source that lacks a split gets one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

SplitName = Literal["train", "valid", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "valid", "test")

MIN_TRAIN_ROWS = 8
"""Fewer are a mistake (a wrong file, a wrong folder), not a data set."""


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of one split. n rows, D values a row.

    `values`: raw, uint8 or float32 [n, D], each row in the row-major order of the input's shape. `labels`: int64 [n]
    where the source has classes; nothing is learned from them.

    Rows lie in memory one after the other: of an array by columns a copy is made. To gather a hundred rows of 784 bytes
    out of columns misses the cache 78,400 times, and takes longer than the rest of a step.
    """

    values: NDArray[Any]
    labels: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", np.ascontiguousarray(self.values))

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.int64]) -> "Split":
        return Split(self.values[rows], None if self.labels is None else self.labels[rows])


def shuffled(num_rows: int, seed: int) -> NDArray[np.int64]:
    """A permutation of `0..num_rows-1`, the same for the same seed on every platform and numpy version.

    The rows sorted by one raw 64-bit word each of Philox4x64-10 keyed by the seed: numpy fixes its raw streams, but not
    how `Generator.permutation` uses them (NEP 19).
    """
    words = np.random.Philox(key=seed).random_raw(num_rows)
    return np.argsort(words, kind="stable").astype(np.int64)


def complete(
    splits: Mapping[SplitName, Split], fractions: Mapping[SplitName, float], seed: int
) -> dict[SplitName, Split]:
    """Train, valid and test; those in `fractions` are cut off the training rows, at random by `seed`.

    A cut split has `round(fraction * n)` rows, at least one, in random order: its first rows are a fair sample of it.
    Raises DataError when fewer than MIN_TRAIN_ROWS remain to train on.
    """
    train = splits["train"]
    order = shuffled(len(train), seed) if fractions else np.arange(len(train))
    sizes = {name: max(1, round(fraction * len(train))) for name, fraction in fractions.items()}
    remaining = len(train) - sum(sizes.values())
    if remaining < MIN_TRAIN_ROWS:
        cut = "".join(f", less {size} cut off for {name}" for name, size in sizes.items())
        raise DataError(
            f"expected at least {MIN_TRAIN_ROWS} rows to train on, got {len(train)}{cut}: "
            "give more data, or smaller data.valid_fraction and data.test_fraction"
        )
    completed = dict(splits)
    start = 0
    for name, size in sizes.items():
        completed[name] = train.take(order[start : start + size])
        start += size
    if fractions:
        completed["train"] = train.take(order[start:])
    return {name: completed[name] for name in SPLIT_NAMES}
