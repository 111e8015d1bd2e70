"""Estimates of bias and variance, held against populations whose bias and variance are known."""

import pytest
import torch
from tiny_vae import standard_errors

from training.errors import EvaluationError
from training.gradient_errors import NUM_GROUPS, gradient_errors

FALSE_ALARM = 1e-4
EXACT = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
SPREAD = torch.tensor([0.5, 3.0, 1.0, 2.0], dtype=torch.float64)
ERRORS = ("squared_bias", "variance", "mean_squared_error")


def population(bias, num_draws, generator):
    return EXACT + bias + SPREAD * torch.randn(num_draws, 4, generator=generator, dtype=torch.float64)


def truth(bias):
    norm = EXACT.square().sum()
    squared_bias, variance = bias.square().sum() / norm, SPREAD.square().sum() / norm
    return {"squared_bias": squared_bias, "variance": variance, "mean_squared_error": squared_bias + variance}


BIASES = [torch.zeros(4).double(), torch.tensor([0.3, 0.1, -0.4, 0.2]).double()]


@pytest.mark.parametrize("bias", BIASES, ids=["unbiased", "biased"])
def test_errors_are_estimated_without_bias_and_their_intervals_hold_the_truth(bias):
    generator, replicates = torch.Generator().manual_seed(0), 1000
    found = [gradient_errors(population(bias, 10 * NUM_GROUPS, generator), EXACT) for _ in range(replicates)]
    for name in ERRORS:
        wanted = truth(bias)[name]
        intervals = torch.tensor([getattr(each, name) for each in found], dtype=torch.float64)
        error = intervals[:, 0].std() / replicates**0.5
        assert abs(intervals[:, 0].mean() - wanted) < standard_errors(FALSE_ALARM, 2 * len(ERRORS)) * error
        covered = ((intervals[:, 1] <= wanted) & (wanted <= intervals[:, 2])).double().mean()
        # 95 % with a margin for the approximations of a jackknife: wider where the squared bias is 0.
        assert covered > 0.92


def test_the_noise_floor_is_taken_off_the_squared_bias():
    # The plain squared distance of the mean would be the variance over the number of draws: 3.5 times the truth's 0.
    generator = torch.Generator().manual_seed(1)
    plain, found = [], []
    for _ in range(200):
        draws = population(BIASES[0], NUM_GROUPS, generator)
        plain.append(((draws.mean(dim=0) - EXACT).square().sum() / EXACT.square().sum()).item())
        found.append(gradient_errors(draws, EXACT).squared_bias.value)
    floor = (truth(BIASES[0])["variance"] / NUM_GROUPS).item()
    assert sum(plain) / 200 == pytest.approx(floor, rel=0.2)
    assert abs(sum(found) / 200) < 0.2 * floor
    assert min(found) < 0


def test_mean_squared_error_is_squared_bias_and_variance():
    errors = gradient_errors(population(BIASES[1], 100, torch.Generator().manual_seed(2)), EXACT)
    assert errors.mean_squared_error.value == pytest.approx(errors.squared_bias.value + errors.variance.value)
    assert errors.exact_norm == pytest.approx(EXACT.norm().item())


def test_statistics_are_those_of_pairs_of_different_groups():
    # A second implementation, pair by pair.
    draws = population(BIASES[1], 3 * NUM_GROUPS, torch.Generator().manual_seed(3))
    means = [group.mean(dim=0) for group in draws.split(3)]
    pairs = [a @ b for i, a in enumerate(means) for j, b in enumerate(means) if i != j]
    mean_square = sum(pairs) / len(pairs)
    along = draws.mean(dim=0) @ EXACT
    square = EXACT @ EXACT
    errors = gradient_errors(draws, EXACT)
    assert errors.squared_bias.value == pytest.approx(((mean_square - 2 * along + square) / square).item())
    assert errors.cosine.value == pytest.approx((along / (mean_square * square).sqrt()).item())
    second = draws.square().sum(dim=1).mean()
    assert errors.variance.value == pytest.approx(((second - mean_square) / square).item())


def test_intervals_are_jackknives_over_groups():
    draws = population(BIASES[1], 3 * NUM_GROUPS, torch.Generator().manual_seed(4))
    square = EXACT @ EXACT

    def squared_bias(means):
        pairs = [(a - EXACT) @ (b - EXACT) for i, a in enumerate(means) for j, b in enumerate(means) if i != j]
        return (sum(pairs) / len(pairs) / square).item()

    means = [group.mean(dim=0) for group in draws.split(3)]
    without = torch.tensor([squared_bias(means[:i] + means[i + 1 :]) for i in range(NUM_GROUPS)], dtype=torch.float64)
    spread = ((NUM_GROUPS - 1) / NUM_GROUPS * (without - without.mean()).square().sum()).sqrt().item()
    interval = gradient_errors(draws, EXACT).squared_bias
    # 2.093 is the 97.5 % quantile of Student's t with 19 degrees of freedom.
    assert interval.high - interval.value == pytest.approx(2.093024 * spread, rel=1e-6)
    assert interval.value - interval.low == pytest.approx(2.093024 * spread, rel=1e-6)


def test_a_metric_measures_what_the_draws_are_mapped_to():
    generator = torch.Generator().manual_seed(5)
    draws = population(BIASES[1], 200, generator)
    jacobian = torch.randn(4, 9, generator=generator, dtype=torch.float64)
    mapped = gradient_errors(draws @ jacobian, EXACT @ jacobian)
    in_metric = gradient_errors(draws, EXACT, jacobian @ jacobian.T)
    for first, second in zip(mapped, in_metric, strict=True):
        assert first == pytest.approx(second, rel=1e-9)


def test_draws_without_error_have_none():
    errors = gradient_errors(EXACT.expand(NUM_GROUPS, -1), EXACT)
    for name in ERRORS:
        assert getattr(errors, name) == pytest.approx((0, 0, 0), abs=1e-12)
    assert errors.cosine == pytest.approx((1, 1, 1))


def test_a_mean_that_points_the_other_way_has_a_cosine_of_minus_one():
    assert gradient_errors(-EXACT.expand(NUM_GROUPS, -1), EXACT).cosine.value == pytest.approx(-1)


@pytest.mark.parametrize("num_draws", [0, 1, NUM_GROUPS - 1, NUM_GROUPS + 1])
def test_draws_that_do_not_make_equal_groups_are_refused(num_draws):
    with pytest.raises(EvaluationError, match=f"num_draws: expected a multiple of {NUM_GROUPS} .*, got {num_draws}"):
        gradient_errors(torch.ones(num_draws, 4), EXACT)
