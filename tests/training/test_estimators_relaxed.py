import pytest
import torch
from estimator_cases import LATENTS, ONE, LinearCost, QuadraticCost, by_kind, draw, posterior, random_logits
from tiny_vae import standard_errors

from training import noise
from training.estimators import DecoupledStraightThroughGumbel, Pathwise, StraightThroughGumbel
from training.relaxations import relax

FALSE_ALARM = 1e-4
TAU = 0.7 * ONE


def difference_quotient(function, logits, step=1e-6):
    """The gradient of a function of logits, one value in all, numerically."""
    gradient = torch.zeros_like(logits)
    for index in torch.cartesian_prod(*(torch.arange(size) for size in logits.shape)):
        ends = []
        for sign in (1, -1):
            moved = logits.clone()
            moved[tuple(index)] += sign * step
            ends.append(function(moved))
        gradient[tuple(index)] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def gradient_of(estimator, latent, logits, cost, tau):
    rows = logits.clone().requires_grad_()
    estimate = estimator(
        posterior(rows, latent), cost, relaxation_temperature=tau, generator=torch.Generator().manual_seed(5)
    )
    return torch.autograd.grad(estimate.surrogate.sum(), rows)[0]


def standard(latent, logits):
    """The noise that `gradient_of` draws."""
    return noise.draw(latent.noise, logits.shape, torch.Generator().manual_seed(5)).double()


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_straight_through_gumbel_gradient_is_that_of_the_cost_along_the_relaxed_value(latent):
    # The slope of the cost at the code, times the relaxed value of the same noise: differentiated numerically.
    logits, cost = random_logits(latent, 6), QuadraticCost(latent)
    codes = latent.most_probable(logits + standard(latent, logits)).requires_grad_()
    (slope,) = torch.autograd.grad(cost(codes).sum(), codes)
    expected = difference_quotient(
        lambda moved: (slope * relax(moved + standard(latent, logits), TAU, latent.kind)).sum(), logits
    )
    got = gradient_of(StraightThroughGumbel(), latent, logits, cost, TAU)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_pathwise_gradient_is_that_of_the_cost_of_the_relaxed_value(latent):
    logits, cost = random_logits(latent, 6), QuadraticCost(latent)
    expected = difference_quotient(
        lambda moved: cost(relax(moved + standard(latent, logits), TAU, latent.kind)).sum(), logits
    )
    torch.testing.assert_close(gradient_of(Pathwise(), latent, logits, cost, TAU), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_decoupled_temperatures_are_straight_through_gumbel_at_the_backward_one_whatever_the_schedule_says(latent):
    logits, cost = random_logits(latent, 6), QuadraticCost(latent)
    decoupled = gradient_of(DecoupledStraightThroughGumbel(backward_temperature=2.0), latent, logits, cost, 0.1 * ONE)
    torch.testing.assert_close(decoupled, gradient_of(StraightThroughGumbel(), latent, logits, cost, 2 * ONE))


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_pathwise_cost_is_no_estimate_of_that_of_codes(latent):
    # Why its numbers must not be called a bound: on a convex cost the relaxed value is cheaper, far beyond chance.
    num_draws = 20_000
    logits = random_logits(latent)

    class Square(LinearCost):
        def __call__(self, codes):
            return super().__call__(codes).square()

    relaxed, codes = (
        draw(estimator, latent, logits, Square(latent), num_draws=num_draws).cost
        for estimator in (Pathwise(), StraightThroughGumbel())
    )
    assert not Pathwise.is_discrete
    error = ((relaxed.var() + codes.var()) / num_draws).sqrt()
    assert codes.mean() - relaxed.mean() > standard_errors(FALSE_ALARM) * error
