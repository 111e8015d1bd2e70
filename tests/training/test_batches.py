import numpy as np
import pytest
import torch
from scipy.stats import chi2
from tiny_runs import CPU

from training.batches import TrainingBatches
from training.data import Dataset
from training.data.material import input_spec
from training.data.splits import Split


def dataset(values, *, scale=1.0, binarization="none"):
    split = Split(values)
    return Dataset(
        name="array",
        title="array",
        input=input_spec(values.shape[1:]),
        splits={"train": split, "valid": split, "test": split},
        scale=scale,
        binarization=binarization,
        provenance={},
        binary=False,
    )


def numbered(num_rows, *, batch_size, seed=0):
    """Batches of rows that hold their own number, so that a batch says which rows it took."""
    values = np.arange(num_rows, dtype=np.float32)[:, None]
    return TrainingBatches(dataset(values), batch_size=batch_size, seed=seed, device=CPU)


def rows(batches, step):
    return batches.inputs(step, torch.Generator())[:, 0].int().tolist()


def test_every_epoch_takes_every_row_once_in_another_order():
    batches = numbered(12, batch_size=3)
    assert batches.per_epoch == 4
    epochs = [[row for step in range(4 * epoch, 4 * epoch + 4) for row in rows(batches, step)] for epoch in range(5)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(12))
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_rows_that_fill_no_batch_wait_for_another_epoch():
    batches = numbered(11, batch_size=4)
    assert batches.per_epoch == 2
    waiting = set()
    for epoch in range(40):
        taken = rows(batches, 2 * epoch) + rows(batches, 2 * epoch + 1)
        assert len(set(taken)) == 8
        waiting |= set(range(11)) - set(taken)
    assert waiting == set(range(11))


def test_the_rows_of_a_step_depend_on_nothing_but_seed_and_step():
    forwards = numbered(50, batch_size=7, seed=3)
    expected = {step: rows(forwards, step) for step in range(40)}
    # In any order, from the middle of an epoch, by batches that have seen nothing.
    backwards = numbered(50, batch_size=7, seed=3)
    for step in reversed(range(40)):
        assert rows(backwards, step) == expected[step]
    assert rows(numbered(50, batch_size=7, seed=3), 33) == expected[33]
    assert [rows(numbered(50, batch_size=7, seed=4), step) for step in range(7)] != [
        expected[step] for step in range(7)
    ]


def test_all_orders_of_few_rows_are_equally_likely():
    """Chi-square over the 24 orders of 4 rows in 4,800 epochs; seeded, so it fails always or never. Level 1e-6."""
    batches = numbered(4, batch_size=4, seed=11)
    orders, counts = np.unique([rows(batches, step) for step in range(4_800)], axis=0, return_counts=True)
    assert len(orders) == 24
    assert ((counts - 200) ** 2 / 200).sum() < chi2.isf(1e-6, 23)


@pytest.mark.parametrize("batch_size", [0, -1, 6])
def test_a_batch_must_hold_between_one_and_all_rows(batch_size):
    with pytest.raises(ValueError, match=f"batch_size: expected 1 to 5, the size .* got {batch_size}"):
        numbered(5, batch_size=batch_size)


def test_a_batch_of_all_rows_is_an_epoch():
    batches = numbered(5, batch_size=5)
    assert [sorted(rows(batches, step)) for step in range(3)] == [list(range(5))] * 3


def batch_of(values, **options):
    return TrainingBatches(dataset(values, **options), batch_size=len(values), seed=0, device=CPU)


def test_values_are_divided_by_the_scale():
    values = np.arange(0, 256, 5, dtype=np.uint8)[:, None]
    inputs = batch_of(values, scale=255.0).inputs(0, torch.Generator())
    assert inputs.dtype == torch.float32
    np.testing.assert_array_equal(np.sort(inputs.numpy(), axis=0), (values / 255).astype(np.float32))


def test_a_threshold_keeps_what_is_above_one_half():
    values = np.array([0, 7, 8, 9, 16], dtype=np.uint8)[:, None]
    inputs = batch_of(values, scale=16.0, binarization="threshold").inputs(0, torch.Generator())
    assert sorted(inputs[:, 0].tolist()) == [0, 0, 0, 1, 1]


def test_dynamic_binarisation_draws_every_value_anew_with_its_own_probability():
    """The counts of ones are binomial: chi-square over 16 values, 2,000 draws each. Seeded; level 1e-6."""
    grey = np.arange(17, dtype=np.uint8)[None, :]
    batches = batch_of(grey, scale=16.0, binarization="dynamic")
    generator = torch.Generator().manual_seed(5)
    draws = torch.stack([batches.inputs(step, generator)[0] for step in range(2_000)])
    assert ((draws == 0) | (draws == 1)).all()
    assert len({tuple(draw) for draw in draws[:50].tolist()}) > 40
    probability = np.arange(1, 16) / 16
    ones = draws.sum(dim=0).numpy()
    assert ones[0] == 0
    assert ones[16] == 2_000
    variance = 2_000 * probability * (1 - probability)
    assert ((ones[1:16] - 2_000 * probability) ** 2 / variance).sum() < chi2.isf(1e-6, 15)


def test_the_draws_come_from_the_generator_that_was_given():
    batches = batch_of(np.full((3, 20), 8, np.uint8), scale=16.0, binarization="dynamic")
    one, same, other = (batches.inputs(0, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
