"""Batches of a training split that lies on the model's device.

Which rows a step takes is a pure function of seed and step, so that a resumed run takes the rows it would have taken.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from training.data import Dataset


class TrainingBatches:
    """Rows of the training split in a new random order every epoch; what does not fill a batch waits for another epoch.

    The raw values stay as they are (a byte a pixel) and become floats in [0, 1] a batch at a time, where dynamic
    binarisation draws each value anew.
    """

    def __init__(self, dataset: Dataset, *, batch_size: int, seed: int, device: torch.device) -> None:
        rows = dataset.splits["train"].values
        if not 1 <= batch_size <= len(rows):
            raise ValueError(
                f"training.batch_size: expected 1 to {len(rows)}, the size of the training split, got {batch_size}"
            )
        self._values = torch.from_numpy(rows).to(device)
        self._scale = dataset.scale
        self._binarization = dataset.binarization
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._order: Tensor

    @property
    def per_epoch(self) -> int:
        return len(self._values) // self._batch_size

    def inputs(self, step: int, generator: torch.Generator) -> Float[Tensor, "B D"]:
        """The batch of this step, counted from 0. `generator` draws the binarisation, if there is one."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            shuffler = np.random.Generator(np.random.Philox(key=self._seed, counter=epoch << 64))
            self._order = torch.from_numpy(shuffler.permutation(len(self._values))).to(self._values.device)
            self._epoch = epoch
        chosen = self._order[position * self._batch_size :][: self._batch_size]
        inputs = self._values[chosen].to(torch.float32) / self._scale
        if self._binarization == "threshold":
            return (inputs > 0.5).to(torch.float32)
        if self._binarization == "dynamic":
            uniform = torch.rand(inputs.shape, device=inputs.device, generator=generator)
            return (uniform < inputs).to(torch.float32)
        return inputs
