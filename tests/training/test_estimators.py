import pytest
import torch
from tiny_vae import LATENTS, all_codes, standard_errors

from training import noise
from training.estimators import ESTIMATORS, straight_through
from training.relaxations import relax

FALSE_ALARM = 1e-4
TAU = torch.tensor(0.7, dtype=torch.float64)


def by_kind(latent):
    return latent.kind


def random_logits(latent, num_rows=1):
    generator = torch.Generator().manual_seed(4)
    return torch.randn(num_rows, *latent.shape, generator=generator, dtype=torch.float64)


def quadratic_cost(latent, seed=0):
    """A cost that no linear function of the code equals: c(z) = (w . z)^2 + v . z."""
    generator = torch.Generator().manual_seed(seed)
    size = all_codes(latent)[0].numel()
    w, v = torch.randn(2, size, generator=generator, dtype=torch.float64)

    def cost(codes):
        flat = codes.flatten(start_dim=1)
        return (flat @ w).square() + flat @ v

    return cost


def exact_expectation(latent, logits, cost):
    """E_q[cost] for one row of logits, by enumeration; differentiable."""
    codes = all_codes(latent)
    return (latent.law(logits).log_prob(codes).sum(dim=-1).exp() * cost(codes)).sum()


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_cost_is_an_unbiased_estimate_of_its_expectation_under_the_discrete_law(name, latent):
    num_draws = 100_000
    logits, cost = random_logits(latent), quadratic_cost(latent)
    estimate = ESTIMATORS[name](
        logits.expand(num_draws, *latent.shape),
        cost,
        latent=latent,
        relaxation_temperature=TAU,
        generator=torch.Generator().manual_seed(8),
    )
    assert not estimate.cost.requires_grad
    error = estimate.cost.std() / num_draws**0.5
    difference = estimate.cost.mean() - exact_expectation(latent, logits, cost)
    assert abs(difference) < standard_errors(FALSE_ALARM) * error


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("tau", [1e-3, 0.5, 100.0])
def test_straight_through_is_exactly_the_code_forward_and_the_relaxed_value_backward(latent, tau):
    scores = 4 * random_logits(latent, 100).float()
    codes = latent.most_probable(scores)
    upstream = torch.randn(scores.shape, generator=torch.Generator().manual_seed(0))

    through = scores.clone().requires_grad_()
    value = straight_through(codes, relax(through, torch.tensor(tau), latent.kind))
    assert torch.equal(value, codes)
    (value * upstream).sum().backward()

    relaxed = scores.clone().requires_grad_()
    (relax(relaxed, torch.tensor(tau), latent.kind) * upstream).sum().backward()
    assert torch.equal(through.grad, relaxed.grad)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_straight_through_over_the_mean_is_exact_for_a_linear_cost(latent):
    weights = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def linear(codes):
        return (codes * weights).flatten(start_dim=1).sum(dim=1)

    exact = random_logits(latent).requires_grad_()
    exact_expectation(latent, exact, linear).backward()
    for code in all_codes(latent):
        logits = random_logits(latent).requires_grad_()
        linear(straight_through(code.unsqueeze(0), latent.law(logits).mean)).sum().backward()
        torch.testing.assert_close(logits.grad, exact.grad)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_straight_through_gumbel_gradient_is_that_of_the_cost_along_the_relaxed_value(latent):
    # d cost(z)/dz at the code, times the relaxed value of the same noise: differentiated numerically, in float64.
    logits, cost = random_logits(latent, 6).requires_grad_(), quadratic_cost(latent)
    estimate = ESTIMATORS["straight_through_gumbel"](
        logits, cost, latent=latent, relaxation_temperature=TAU, generator=torch.Generator().manual_seed(5)
    )
    (gradient,) = torch.autograd.grad(estimate.surrogate.sum(), logits)

    standard = noise.draw(latent.noise, logits.shape, torch.Generator().manual_seed(5)).double()
    codes = latent.most_probable(logits.detach() + standard).requires_grad_()
    (slope,) = torch.autograd.grad(cost(codes).sum(), codes)
    step = 1e-6
    numerical = torch.zeros_like(gradient)
    for index in torch.cartesian_prod(*(torch.arange(size) for size in logits.shape)):
        ends = []
        for sign in (1, -1):
            moved = logits.detach().clone()
            moved[tuple(index)] += sign * step
            ends.append((slope * relax(moved + standard, TAU, latent.kind)).sum())
        numerical[tuple(index)] = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close(gradient, numerical, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_cost_meets_codes_of_exactly_zero_and_one_at_any_relaxation_temperature(name, latent):
    for tau in (1e-3, 1e3):
        seen = []

        def cost(codes, seen=seen):
            seen.append(codes.detach())
            return codes.flatten(start_dim=1).sum(dim=1)

        ESTIMATORS[name](
            random_logits(latent, 50),
            cost,
            latent=latent,
            relaxation_temperature=torch.tensor(tau, dtype=torch.float64),
            generator=torch.Generator().manual_seed(1),
        )
        codes = torch.cat(seen)
        assert torch.equal(codes, codes.round())
        assert torch.equal(latent.from_indices(latent.indices(codes)).double(), codes)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_same_generator_gives_the_same_estimate_and_no_other_stream_matters(name, latent):
    def estimate(global_seed):
        torch.manual_seed(global_seed)
        logits = random_logits(latent, 9).requires_grad_()
        result = ESTIMATORS[name](
            logits,
            quadratic_cost(latent),
            latent=latent,
            relaxation_temperature=TAU,
            generator=torch.Generator().manual_seed(2),
        )
        return result.cost, torch.autograd.grad(result.surrogate.sum(), logits)[0]

    for first, second in zip(estimate(0), estimate(1), strict=True):
        assert torch.equal(first, second)
