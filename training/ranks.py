"""The processes that train one model together: who this one is, and what they tell one another.

`torchrun` starts them and says to each by its environment which it is: its *rank*, counted from 0. Every rank holds the
whole model and computes the same step on rows of its own. What they must agree on goes through here and nowhere else:

    average     gradients and logged terms, between the backward pass and the update
    any         whether somebody was asked to stop
    from_first  what the first rank decides
    share       which rows of a batch are this rank's

A process that nobody else trains with is the first of one, and all of it costs it nothing.
"""

import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from training.errors import ConfigError, ProcessLost, RunError

_TIMEOUT = timedelta(minutes=10)
"""How long the others are waited for. The first rank measures the validation split while they wait."""

_PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that this process gets when the one that started it ends."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """`rank` of `size`; `local_rank` of the `local_size` that run on this host."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes: log, checkpoints, configuration."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.size == 1

    def share(self, batch_size: int) -> slice:
        """Which rows of a batch are this rank's. Raises ConfigError when they cannot be shared out evenly.

        Even shares make the mean of the ranks' means the mean over the batch.
        """
        if batch_size % self.size:
            raise ConfigError(
                f"training.batch_size: expected a multiple of {self.size}, the number of processes that share a "
                f"batch, got {batch_size}"
            )
        num_rows = batch_size // self.size
        return slice(self.rank * num_rows, (self.rank + 1) * num_rows)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, of one dtype, by its mean over the ranks: one message for all of them.

        Every rank gets the same bits. Raises ProcessLost when one of the others is gone.
        """
        if self.is_alone:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _talking():
            dist.all_reduce(flat)
        flat /= self.size
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the ranks; its gradient is that of this rank's part of it.

        So the average over ranks of what is differentiated through it is the gradient of the mean.
        """
        if self.is_alone:
            return values
        total = values.detach().clone()
        self.average([total])
        return values + (total - values.detach())

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank. Raises ProcessLost."""
        if self.is_alone:
            return flag
        count = torch.tensor([int(flag)])
        with _talking():
            dist.all_reduce(count)
        return bool(count.item())

    def from_first(self, value: T) -> T:
        """What the first rank gave; a value that can be pickled. Raises ProcessLost."""
        if self.is_alone:
            return value
        box: list[Any] = [value]
        with _talking():
            dist.broadcast_object_list(box, device=torch.device("cpu"))
        return box[0]

    def take_first(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by that of the first rank. Raises ProcessLost."""
        if self.is_alone:
            return
        with _talking():
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def check_same(self, **values: Any) -> None:
        """Raises RunError, naming what differs, where this rank has another value than the first. ProcessLost, too."""
        first = self.from_first(values)
        for name, value in values.items():
            if value != first[name]:
                raise RunError(
                    f"rank {self.rank} has another {name.replace('_', ' ')} than rank 0: every process needs the same "
                    "data and the same run folder, on several hosts by a file system that they share"
                )

    @contextmanager
    def first_on_host(self) -> Iterator[None]:
        """Let one rank of each host do the block before the others of that host: what it downloads is there then."""
        if self.local_rank != 0:
            self._meet()
        yield
        if self.local_rank == 0:
            self._meet()

    def _meet(self) -> None:
        if not self.is_alone:
            with _talking():
                dist.all_reduce(torch.zeros(1))


ALONE = Ranks()


def launched_ranks() -> Ranks:
    """Who this process is by the environment that `torchrun` gives it; alone without one.

    Raises ConfigError when the environment is not one of `torchrun`.
    """
    if "WORLD_SIZE" not in os.environ:
        return ALONE
    names = {"rank": "RANK", "size": "WORLD_SIZE", "local_rank": "LOCAL_RANK", "local_size": "LOCAL_WORLD_SIZE"}
    try:
        ranks = Ranks(**{field: int(os.environ[name]) for field, name in names.items()})
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"the environment has WORLD_SIZE, and not the numbers {', '.join(names.values())} that torchrun sets "
            f"({error}); start training with torchrun, or unset WORLD_SIZE"
        ) from None
    if not (0 <= ranks.rank < ranks.size and 0 <= ranks.local_rank < ranks.local_size):
        raise ConfigError(
            f"the environment says rank {ranks.rank} of {ranks.size}, on this host {ranks.local_rank} of "
            f"{ranks.local_size}; start training with torchrun, or unset WORLD_SIZE"
        )
    return ranks


@contextmanager
def joined(ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Connect the ranks for as long as the block lasts; NCCL between GPUs, Gloo between the hosts' memories.

    A rank is told to stop when its torchrun is gone, also where that was killed and could tell nobody.

    Raises ProcessLost when the others do not come.
    """
    if ranks.is_alone:
        yield
        return
    _stop_with_launcher()
    _import_what_keeps_groups()
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    with _talking():
        store, _, _ = next(dist.rendezvous("env://", ranks.rank, ranks.size, timeout=_TIMEOUT))
        # torchrun may keep one store for all restarts: without a name of its own, a restarted rank finds in it where
        # the processes before it were listening.
        store = dist.PrefixStore(f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        dist.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.size, timeout=_TIMEOUT)
    # Not where the block raises: with a rank gone, NCCL would wait for it here.
    yield
    dist.destroy_process_group()


def _import_what_keeps_groups() -> None:
    """Before there is a group: functions of this module have the group of the moment of its import as a default.

    PyTorch imports it when a step is first compiled, say. Then the group would outlive `destroy_process_group`, and
    Gloo's threads the interpreter, which ends the process by SIGABRT when one of them drops a tensor that Python made.
    """
    importlib.import_module("torch.distributed.nn.functional")


def _stop_with_launcher() -> None:
    """SIGTERM when the process that started this one ends; on Linux, elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _talking() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        cause = str(error).strip().splitlines()[0].partition(". ")[0]
        raise ProcessLost(
            f"another process of this training ended or cannot be reached ({cause}); its own message says why; "
            "`fit --resume` continues from the newest checkpoint"
        ) from error
