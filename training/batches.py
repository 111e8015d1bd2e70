"""Batches of the training split, made where the compute is.

Which rows a step takes is a pure function of seed and step, so that a resumed run takes the rows it would have taken,
wherever the rows lie.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from numpy.typing import NDArray
from torch import Tensor

from training.data import Dataset
from training.placement import PackedRows, Placement, ResidentRows, RowStorage, StreamedRows, choose_placement
from training.row_order import row_order

_CPU = torch.device("cpu")


class TrainingBatches:
    """Rows of the training split in a new random order every epoch; what does not fill a batch waits for another epoch.

    The raw values stay as they are (a byte a pixel) and become floats in [0, 1] a batch at a time, where dynamic
    binarisation draws each value anew.

    `seek` is the host's part of a step; `take` is the device's part, a function of tensors that stay in their place, so
    that it can be recorded once and replayed for every step.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        placement: Placement | None = None,
        rows: RowStorage | None = None,
        share: slice | None = None,
    ) -> None:
        """`placement` None is `choose_placement`'s; `rows` are those of other batches of the same data set; `share` is
        which rows of each batch are taken here, None being all.

        Raises ValueError when an option does not fit the data.
        """
        values = dataset.splits["train"].values
        self.num_rows = len(values)
        if not 1 <= batch_size <= self.num_rows:
            raise ValueError(
                f"training.batch_size: expected 1 to {self.num_rows}, the size of the training split, got {batch_size}"
            )
        if placement == "packed" and not dataset.binary:
            raise ValueError(f'data.placement: "packed" is for values of 0 and 1, and {dataset.title} has others')
        self.device = device
        self._dataset = dataset
        self.batch_size = batch_size
        self.share = slice(0, batch_size) if share is None else share
        self.num_taken = self.share.stop - self.share.start
        self._seed = seed
        self._epoch = -1
        # Rows of the epoch, a line a step.
        self._order = torch.zeros(self.per_epoch, self.num_taken, dtype=torch.int64, device=device)
        self.placement = placement or choose_placement(values, is_binary=dataset.binary, device=device)
        self._host_epoch = -1
        self._host_order = np.zeros(0, np.int64)
        self.rows = self._stored(values) if rows is None else rows

    def _stored(self, values: NDArray[Any]) -> RowStorage:
        if self.placement == "resident":
            return ResidentRows(values, self.device)
        if self.placement == "packed":
            return PackedRows(values, self.device, one=self._dataset.scale)
        return StreamedRows(values, self.device, batch_size=self.num_taken, rows_of_step=self._rows_of_step)

    @property
    def per_epoch(self) -> int:
        return self.num_rows // self.batch_size

    def of_seed(self, seed: int) -> "TrainingBatches":
        """Those of another seed, from the same copy of the rows; of streamed rows there is none."""
        return TrainingBatches(
            self._dataset,
            batch_size=self.batch_size,
            seed=seed,
            device=self.device,
            placement=self.placement,
            rows=None if isinstance(self.rows, StreamedRows) else self.rows,
            share=self.share,
        )

    def seek(self, step: int) -> None:
        """Make ready what `take` needs for this step, counted from 0; nothing is waited for."""
        if isinstance(self.rows, StreamedRows):
            self.rows.seek(step)
            return
        epoch = step // self.per_epoch
        if epoch != self._epoch:
            self._order.copy_(self.order(epoch))
            self._epoch = epoch

    def order(self, epoch: int) -> Int64[Tensor, "steps B"]:
        """The rows taken in each step of an epoch."""
        order = row_order(self._seed, epoch, self.num_rows, device=self.device)
        return order[: self.per_epoch * self.batch_size].view(self.per_epoch, self.batch_size)[:, self.share]

    def take(self, position: Int64[Tensor, "1"], generator: torch.Generator) -> Float[Tensor, "B D"]:
        """The batch of the step that was sought; `position` is its place in the epoch.

        `generator` draws the binarisation, if there is one, for the whole batch, whatever share of it is taken.
        """
        raw = self.rows.take(self._order.index_select(0, position).view(-1))
        whole = (self.batch_size, raw.shape[1])
        return as_inputs(
            self._dataset, raw, lambda: torch.rand(whole, device=raw.device, generator=generator)[self.share]
        )

    def inputs(self, step: int, generator: torch.Generator) -> Float[Tensor, "B D"]:
        """The batch of this step, counted from 0."""
        self.seek(step)
        return self.take(torch.tensor([step % self.per_epoch], device=self.device), generator)

    def close(self) -> None:
        """End whatever works ahead."""
        if isinstance(self.rows, StreamedRows):
            self.rows.close()

    def _rows_of_step(self, step: int) -> NDArray[np.int64]:
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._host_epoch:
            self._host_order = row_order(self._seed, epoch, self.num_rows, device=_CPU).numpy()
            self._host_epoch = epoch
        return self._host_order[position * self.batch_size :][self.share]


def as_inputs(
    dataset: Dataset, raw: Shaped[Tensor, "*runs B D"], draw_uniform: Callable[[], Tensor]
) -> Float[Tensor, "*runs B D"]:
    """Raw values as inputs in [0, 1]; `draw_uniform` gives the uniforms of a dynamic binarisation, one a value."""
    inputs = raw.to(torch.float32)
    if dataset.scale != 1:
        inputs = inputs / dataset.scale
    if dataset.binarization == "threshold":
        return (inputs > 0.5).to(torch.float32)
    if dataset.binarization == "dynamic":
        return (draw_uniform() < inputs).to(torch.float32)
    return inputs
