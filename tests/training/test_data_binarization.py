import numpy as np
import pytest

from models.noise import uniform
from training.data.binarization import BINARIZATIONS, EVALUATION_SEED, binarized, is_binary, mean_input


def grey_rows(num_rows, num_values, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size=(num_rows, num_values), dtype=np.uint8)


def test_a_drawn_bit_is_one_exactly_where_the_uniform_of_its_place_lies_below_its_value():
    values = grey_rows(5, 7)
    bits = binarized(values, 255.0, "dynamic", sample=2)
    for row in range(5):
        u = uniform(EVALUATION_SEED, 1, (7,), first_row=row, sample=2)[0]
        for place in range(7):
            assert bits[row, place] == (1.0 if u[place] < int(values[row, place]) / 255 else 0.0)


def test_a_row_is_drawn_alike_whatever_rows_follow_it():
    # More rows than are drawn at once.
    values = grey_rows(4096 + 100, 3)
    bits = binarized(values, 255.0, "dynamic")
    u = uniform(EVALUATION_SEED, len(values), (3,))
    np.testing.assert_array_equal(bits, (u < values / 255.0).astype(np.float32))
    np.testing.assert_array_equal(binarized(values[:50], 255.0, "dynamic"), bits[:50])


def test_black_and_white_stay_what_they_are_in_every_draw():
    values = np.tile(np.array([0, 255], np.uint8), (1000, 1))
    for seed in range(3):
        np.testing.assert_array_equal(binarized(values, 255.0, "dynamic", seed=seed), values / np.float32(255))


def test_bits_are_drawn_with_the_probability_that_is_their_grey_value():
    # 17 values, 20,000 draws each, within 5 standard deviations: a false alarm in about 1 of 100,000 choices of seed.
    # The seed is fixed, so the test passes always or never.
    num_draws = 20_000
    values = np.tile(np.arange(17, dtype=np.uint8), (num_draws, 1))
    probability = np.arange(17) / 16
    share = binarized(values, 16.0, "dynamic").mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(probability * (1 - probability) / num_draws)
    assert np.all(np.abs(share - probability) <= 5 * deviation)


@pytest.mark.parametrize(("raw", "scale", "bit"), [(127, 255.0, 0), (128, 255.0, 1), (8, 16.0, 0), (9, 16.0, 1)])
def test_threshold_puts_exactly_one_half_among_the_zeros(raw, scale, bit):
    assert binarized(np.array([[raw]], np.uint8), scale, "threshold")[0, 0] == bit


def test_without_binarisation_values_are_the_raw_ones_over_the_scale():
    values = grey_rows(3, 4)
    expected = np.array([[np.float32(int(raw) / 255) for raw in row] for row in values])
    np.testing.assert_array_equal(binarized(values, 255.0, "none"), expected)


@pytest.mark.parametrize("binarization", BINARIZATIONS)
def test_inputs_are_float32_in_the_unit_interval(binarization):
    inputs = binarized(grey_rows(20, 30), 255.0, binarization)
    assert inputs.dtype == np.float32
    assert inputs.min() >= 0
    assert inputs.max() <= 1


@pytest.mark.parametrize("binarization", ["threshold", "none"])
def test_the_mean_is_that_of_the_inputs_where_nothing_is_drawn(binarization):
    values = grey_rows(500, 6)
    expected = binarized(values, 255.0, binarization).astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(mean_input(values, 255.0, binarization), expected, atol=1e-6)


def test_the_mean_of_dynamic_inputs_is_the_mean_grey_value():
    values = grey_rows(500, 6)
    expected = [sum(int(raw) for raw in column) / 500 / 255 for column in values.T]
    mean = mean_input(values, 255.0, "dynamic")
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "scale", "binary"),
    [
        (np.array([[0, 255]], np.uint8), 255.0, True),
        (np.array([[0, 254]], np.uint8), 255.0, False),
        (np.array([[0.0, 1.0]], np.float32), 1.0, True),
        (np.array([[0.0, 0.5]], np.float32), 1.0, False),
    ],
)
def test_values_are_binary_when_each_is_nothing_or_the_whole_scale(values, scale, binary):
    assert is_binary(values, scale) is binary


def test_a_single_grey_value_after_many_rows_of_bits_is_found():
    values = np.zeros((5000, 2), np.uint8)
    values[4999, 1] = 7
    assert not is_binary(values, 255.0)
