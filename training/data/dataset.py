"""A data set ready to train on: rows, how they become inputs, and what a report must say of them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import InputSpec
from training.data.binarization import EVALUATION_SEED, Binarization, binarized, is_binary, mean_input
from training.data.splits import SPLIT_NAMES, Split, SplitName


@dataclass(frozen=True, eq=False)
class Dataset:
    """Splits of raw rows and their meaning: the value in [0, 1] is `raw / scale`, `binarization` says what follows.

    `name` is that of the configuration, `title` names the user's own file or folder too. `input` describes one input to
    the service. `provenance` can be written as JSON and goes into the manifest. `binary` says that every value of every
    split is 0 or 1. `remarks` on a split belong beside each number measured on it. Shapes: n rows, D values a row.
    """

    name: str
    title: str
    input: InputSpec
    splits: Mapping[SplitName, Split]
    scale: float
    binarization: Binarization
    provenance: dict[str, Any]
    binary: bool
    remarks: Mapping[SplitName, str] = field(default_factory=dict)

    def mean(self) -> NDArray[np.float32]:
        """Mean training input after binarisation, [D] in [0, 1]: where the output bias of a decoder starts."""
        return mean_input(self.splits["train"].values, self.scale, self.binarization)

    def evaluation_inputs(self, split: SplitName) -> NDArray[np.float32]:
        """Inputs of a split, [n, D] in [0, 1], the same at every call: a dynamic binarisation has one fixed seed."""
        # The number of the split keeps rows of the same number in different splits from sharing their draw.
        return binarized(self.splits[split].values, self.scale, self.binarization, sample=SPLIT_NAMES.index(split))

    def sha256(self) -> dict[SplitName, str]:
        """Of each split's raw values, row by row, with their type and what becomes of them; equal for equal inputs.

        Unlike `provenance` it follows the rows alone, not the files or the versions of libraries they came from.
        """
        digests: dict[SplitName, str] = {}
        for name, split in self.splits.items():
            values = np.ascontiguousarray(split.values)
            meaning = f"{values.dtype.str} {values.shape} / {self.scale} {self.binarization}"
            digests[name] = hashlib.sha256(meaning.encode() + values.tobytes()).hexdigest()
        return digests

    def protocol(self, split: SplitName) -> str:
        """What a number measured on `evaluation_inputs(split)` was measured on, in one line."""
        noun = "vector" if self.input.image is None else "image"
        num_rows = len(self.splits[split])
        parts = [f"{self.title} {split}", f"{num_rows:,} {noun}{'' if num_rows == 1 else 's'}"]
        if split in self.remarks:
            parts.append(self.remarks[split])
        parts.append(self._binarization_in_words())
        return ", ".join(parts)

    def _binarization_in_words(self) -> str:
        if self.binarization == "dynamic":
            return f"one Bernoulli binarisation with seed {EVALUATION_SEED}"
        if self.binarization == "threshold":
            return "binarised at 1/2"
        return f"values {'0 and 1' if self.binary else 'from 0 to 1'} as given"


def values_are_binary(splits: Mapping[SplitName, Split], scale: float) -> bool:
    """Whether every value of every split is 0 or 1."""
    return all(is_binary(split.values, scale) for split in splits.values())
