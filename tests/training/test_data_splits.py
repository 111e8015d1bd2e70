import numpy as np
import pytest

from training.data.splits import MIN_TRAIN_ROWS, Split, complete, shuffled
from training.errors import DataError


def numbered(num_rows):
    rows = np.arange(num_rows)
    return Split(rows.astype(np.float32)[:, None], rows)


def test_the_same_seed_gives_the_same_permutation_and_another_seed_another():
    order = shuffled(1000, 3)
    assert sorted(order) == list(range(1000))
    np.testing.assert_array_equal(order, shuffled(1000, 3))
    assert not np.array_equal(order, shuffled(1000, 4))


def test_the_permutation_is_the_one_that_earlier_runs_recorded():
    # Written down once: a change would silently move rows between training and test.
    assert shuffled(10, 0).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]


def test_cut_splits_share_no_row_and_lose_none():
    splits = complete({"train": numbered(100)}, {"valid": 0.1, "test": 0.25}, seed=5)
    assert {name: len(split) for name, split in splits.items()} == {"train": 65, "valid": 10, "test": 25}
    assert sorted(np.concatenate([split.labels for split in splits.values()])) == list(range(100))


def test_labels_go_where_their_rows_go():
    for split in complete({"train": numbered(50)}, {"valid": 0.2, "test": 0.2}, seed=1).values():
        np.testing.assert_array_equal(split.values[:, 0], split.labels)


def test_rows_lie_one_after_the_other_whatever_the_order_they_came_in():
    # The published archive of binarised MNIST holds columns; gathering rows out of them took longer than a step.
    values = np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(4, 3))
    split = Split(values)
    assert split.values.flags.c_contiguous
    np.testing.assert_array_equal(split.values, values)
    rows = np.arange(12, dtype=np.uint8).reshape(4, 3)
    assert Split(rows).values is rows, "what is in order is not copied"


def test_rows_are_left_alone_where_the_source_has_every_split():
    given = {"train": numbered(20), "valid": numbered(3), "test": numbered(4)}
    for name, split in complete(given, {}, seed=0).items():
        assert split is given[name]


def test_a_split_of_the_source_is_kept_while_the_missing_one_is_cut():
    test = numbered(4)
    splits = complete({"train": numbered(20), "test": test}, {"valid": 0.1}, seed=0)
    assert splits["test"] is test
    assert len(splits["valid"]) == 2
    assert len(splits["train"]) == 18


def test_a_cut_split_has_at_least_one_row():
    assert len(complete({"train": numbered(20)}, {"valid": 0.001, "test": 0.001}, seed=0)["valid"]) == 1


def test_the_first_rows_of_a_cut_split_are_no_run_of_neighbours():
    splits = complete({"train": numbered(1000)}, {"valid": 0.1, "test": 0.1}, seed=0)
    assert len(set(np.diff(splits["test"].labels).tolist())) > 50


def test_the_fewest_rows_that_can_be_trained_on_are_accepted_and_one_less_is_refused():
    assert len(complete({"train": numbered(MIN_TRAIN_ROWS + 2)}, {"valid": 0.1, "test": 0.1}, seed=0)["train"]) == (
        MIN_TRAIN_ROWS
    )
    with pytest.raises(
        DataError, match=r"expected at least 8 rows.*got 9, less 1 cut off for valid, less 1 .*give more"
    ):
        complete({"train": numbered(MIN_TRAIN_ROWS + 1)}, {"valid": 0.1, "test": 0.1}, seed=0)
