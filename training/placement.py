"""Where the training rows lie while they are trained on: on the device, there as packed bits, or in the host's memory.

    resident   on the device as they are, a byte or a float a value
    packed     on the device, eight values a byte; for data of 0 and 1
    streamed   in the host's memory; worker processes gather the batches ahead, and pinned memory takes them over

All three give the same values for the same rows.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

Placement = Literal["resident", "packed", "streamed"]

_SHARE_OF_FREE_MEMORY = 0.5
_NUM_WORKERS = 2
_BATCHES_AHEAD = 4


RowsOfStep = Callable[[int], NDArray[np.int64]]
"""The numbers of the rows that a step takes, in the host's memory: a pure function of the step."""


def choose_placement(values: NDArray[Any], *, is_binary: bool, device: torch.device) -> Placement:
    """On the CPU resident. On a GPU what fits into half of the memory that is free: resident, else packed, else
    streamed.
    """
    if device.type == "cpu":
        return "resident"
    budget = _SHARE_OF_FREE_MEMORY * torch.cuda.mem_get_info(device)[0]
    if values.nbytes <= budget:
        return "resident"
    if is_binary and values.nbytes / values.itemsize / 8 <= budget:
        return "packed"
    return "streamed"


class ResidentRows:
    """Rows on the device as they are."""

    def __init__(self, values: NDArray[Any], device: torch.device) -> None:
        self._values = torch.from_numpy(values).to(device)

    def take(self, rows: Int64[Tensor, " B"]) -> Tensor:
        """Raw values of these rows, [B, D]."""
        return self._values.index_select(0, rows)


class PackedRows:
    """Rows of 0 and `one` on the device, eight values a byte."""

    def __init__(self, values: NDArray[Any], device: torch.device, *, one: float) -> None:
        self._packed = torch.from_numpy(np.packbits(values != 0, axis=1)).to(device)
        self._shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=device)
        self._num_values = values.shape[1]
        self._one = one

    def take(self, rows: Int64[Tensor, " B"]) -> Tensor:
        """Raw values of these rows, float32 [B, D]."""
        octets = self._packed.index_select(0, rows).unsqueeze(-1)
        bits = ((octets >> self._shifts) & 1).flatten(start_dim=1)[:, : self._num_values]
        return bits.to(torch.float32) * self._one


class StreamedRows:
    """Batches gathered by worker processes, some steps ahead, into one tensor on the device that is written anew.

    Workers see the host's copy of the data through the fork of their process; nothing is copied for them.
    """

    def __init__(
        self, values: NDArray[Any], device: torch.device, *, batch_size: int, rows_of_step: RowsOfStep
    ) -> None:
        self._values = _Rows(values)
        self._rows_of_step = rows_of_step
        self._device = device
        like = torch.from_numpy(values[:1])
        self._batch = torch.empty(batch_size, values.shape[1], dtype=like.dtype, device=device)
        self._next_step = -1
        self._stream: Iterator[Tensor] = iter(())

    def seek(self, step: int) -> None:
        """Bring the batch of this step to the device; cheap for the step after the one before. Not waited for."""
        if step != self._next_step:
            self.close()
            self._stream = iter(
                DataLoader(
                    self._values,
                    sampler=_Steps(step, self._rows_of_step),
                    batch_size=None,
                    num_workers=_NUM_WORKERS,
                    prefetch_factor=_BATCHES_AHEAD,
                    pin_memory=self._device.type == "cuda",
                )
            )
        self._batch.copy_(next(self._stream), non_blocking=True)
        self._next_step = step + 1

    def take(self, rows: Int64[Tensor, " B"]) -> Tensor:  # noqa: ARG002 - `seek` has fetched them
        """Raw values of the step that was sought, [B, D]."""
        return self._batch

    def close(self) -> None:
        """End the worker processes."""
        self._stream = iter(())
        self._next_step = -1


RowStorage = ResidentRows | PackedRows | StreamedRows


class _Rows(Dataset[Tensor]):
    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self._values[rows])


class _Steps(Sampler[NDArray[np.int64]]):
    """The rows of one step after the other, without end."""

    def __init__(self, first: int, rows_of_step: RowsOfStep) -> None:
        self._first = first
        self._rows_of_step = rows_of_step

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        step = self._first
        while True:
            yield self._rows_of_step(step)
            step += 1
