"""The order in which an epoch takes the rows of the training split: a pure function of seed, epoch and row count.

Row r gets the 63-bit number that Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy
as 1, 2, 3") gives for the counter (r, epoch) and the key (seed), and rows are taken in the order of their numbers. A
sort of distinct positions gives each row once, whatever the numbers; the few that are equal (once in a thousand epochs
of a hundred million rows) keep their order. All of it is integer arithmetic written down here: no library's shuffle,
which may change between versions, and the same order on every device.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_NUM_ROUNDS = 10


def row_order(seed: int, epoch: int, num_rows: int, *, device: torch.device) -> Int64[Tensor, " num_rows"]:
    """A permutation of `0..num_rows-1`, on `device`, which is not waited for."""
    rows = torch.arange(num_rows, dtype=torch.int64, device=device)
    counter = (rows & _LOW, rows >> 32, torch.full_like(rows, epoch & _LOW), torch.full_like(rows, epoch >> 32))
    first, second, _, _ = philox((seed & _LOW, seed >> 32), counter)
    return torch.argsort((first << 31) | (second >> 1), stable=True)


def philox(key: tuple[int, int], counter: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Philox4x32-10: four int64 tensors of 32-bit words for each counter, given in the same form."""
    a, b, c, d = counter
    for number in range(_NUM_ROUNDS):
        # The product of two 32-bit words may pass 2^63; int64 wraps around, and all its 64 bits are right.
        left, right = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        first, second = ((key[word] + number * _WEYL[word]) & _LOW for word in (0, 1))
        a = ((right >> 32) & _LOW) ^ b ^ first
        b = right & _LOW
        c = ((left >> 32) & _LOW) ^ d ^ second
        d = left & _LOW
    return a, b, c, d
