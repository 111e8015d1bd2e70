import pytest
import torch
from tiny_runs import CPU

from training.row_order import philox, row_order


def words(*values):
    return tuple(torch.tensor([value]) for value in values)


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0xA4093822, 0x299F31D0),
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
    ids=["zeros", "ones", "digits of pi"],
)
def test_the_generator_gives_the_known_answers_of_its_authors(key, counter, expected):
    # Random123, kat_vectors, philox 4x32 10.
    assert tuple(int(word) for word in philox(key, words(*counter))) == expected


@pytest.mark.parametrize("num_rows", [1, 2, 3, 64, 1_000, 50_000])
def test_an_order_holds_every_row_once(num_rows):
    for epoch in (0, 1, 2**32 + 5):
        order = row_order(7, epoch, num_rows, device=CPU)
        assert torch.equal(order.sort().values, torch.arange(num_rows))


def test_the_order_depends_on_every_bit_of_seed_and_epoch_and_on_nothing_else():
    orders = {
        (seed, epoch): tuple(row_order(seed, epoch, 30, device=CPU).tolist())
        for seed in (0, 1, 1 << 31, 1 << 32, (1 << 63) - 1)
        for epoch in (0, 1, 1 << 31, 1 << 32)
    }
    assert len(set(orders.values())) == len(orders)
    torch.manual_seed(5)
    assert tuple(row_order(1, 1, 30, device=CPU).tolist()) == orders[1, 1]


def test_the_order_is_the_same_in_every_version():
    # Written down once: a change here changes what every resumed run would go on with.
    assert row_order(3, 2, 12, device=CPU).tolist() == [11, 4, 0, 8, 1, 3, 7, 9, 10, 6, 5, 2]
