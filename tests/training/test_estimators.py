"""What holds for every estimator, whatever its method."""

import pytest
import torch
from estimator_cases import (
    LATENTS,
    ONE,
    LinearCost,
    NetworkCost,
    QuadraticCost,
    Recorded,
    by_kind,
    draw,
    exact,
    posterior,
    random_logits,
)
from tiny_vae import standard_errors

from training.estimators import ESTIMATORS, draw_codes, fitting_estimators, straight_through
from training.relaxations import RELAXATIONS, relax

FALSE_ALARM = 1e-4
CASES = [
    pytest.param(estimator, latent, id=f"{estimator.name}-{latent.kind}")
    for latent in LATENTS
    for estimator in fitting_estimators(latent)
]
DISCRETE = [case for case in CASES if case.values[0].is_discrete]
UNBIASED = [case for case in CASES if case.values[0].is_unbiased]


def test_every_estimator_fits_one_kind_of_latents_at_least():
    assert {case.values[0].name for case in CASES} == set(ESTIMATORS)


@pytest.mark.parametrize(("estimator", "latent"), DISCRETE)
def test_the_cost_is_an_unbiased_estimate_of_its_expectation_under_the_discrete_law(estimator, latent):
    num_draws = 1 if estimator.name == "exact" else 100_000
    logits, cost = random_logits(latent), QuadraticCost(latent)
    draws = draw(estimator, latent, logits, cost, num_draws=num_draws, tau=1.7 * ONE)
    error = 0.0 if num_draws == 1 else draws.cost.std() / num_draws**0.5
    difference = draws.cost.mean() - exact(latent, logits, cost).cost
    assert abs(difference) <= standard_errors(FALSE_ALARM) * error + 1e-12


@pytest.mark.parametrize(("estimator", "latent"), UNBIASED)
def test_gradients_of_unbiased_estimators_are_within_sampling_error_of_the_exact_ones(estimator, latent):
    # Of the logits, and of the cost's own parameters.
    num_draws = 1 if estimator.name == "exact" else 200_000
    logits, cost = random_logits(latent), NetworkCost(latent, num_draws)
    draws = draw(estimator, latent, logits, cost, num_draws=num_draws)
    expected = exact(latent, logits, NetworkCost(latent, 1))
    got = torch.cat([draws.logits, draws.parameters], dim=1)
    wanted = torch.cat([expected.logits, expected.parameters])
    error = torch.zeros_like(wanted) if num_draws == 1 else got.std(dim=0) / num_draws**0.5
    assert ((got.mean(dim=0) - wanted).abs() <= standard_errors(FALSE_ALARM, len(wanted)) * error + 1e-12).all()


@pytest.mark.parametrize(("estimator", "latent"), [case for case in DISCRETE if not case.values[0].is_unbiased])
def test_gradients_of_the_cost_s_own_parameters_are_unbiased_where_those_of_the_logits_are_not(estimator, latent):
    num_draws = 100_000
    logits, cost = random_logits(latent), NetworkCost(latent, num_draws)
    draws = draw(estimator, latent, logits, cost, num_draws=num_draws)
    expected = exact(latent, logits, NetworkCost(latent, 1))
    error = draws.parameters.std(dim=0) / num_draws**0.5
    difference = (draws.parameters.mean(dim=0) - expected.parameters).abs()
    assert (difference <= standard_errors(FALSE_ALARM, len(difference)) * error).all()
    # It says that it is biased, and so it is: by far more than chance, on a cost that is no polynomial.
    error = draws.logits.std(dim=0) / num_draws**0.5
    assert ((draws.logits.mean(dim=0) - expected.logits).abs() > 6 * error).any()


@pytest.mark.parametrize(("estimator", "latent"), DISCRETE)
def test_codes_are_exactly_codes_and_the_relaxation_temperature_never_changes_them(estimator, latent):
    seen = []
    for tau in (1e-3, 1.0, 1e3):
        recorded = Recorded(LinearCost(latent))
        draw(estimator, latent, random_logits(latent), recorded, num_draws=50, tau=tau * ONE)
        seen.append(torch.cat([codes.flatten(end_dim=-1 - len(latent.shape)) for codes in recorded.seen]))
    for codes in seen:
        assert torch.equal(codes, latent.from_indices(latent.indices(codes)).double())
        assert torch.equal(codes, seen[0])


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_estimators_of_one_code_draw_the_same_code_from_the_same_generator(latent):
    drawn = []
    for estimator in fitting_estimators(latent):
        if estimator.is_discrete and estimator.num_evaluations(latent) == 1:
            recorded = Recorded(LinearCost(latent))
            draw(estimator, latent, random_logits(latent), recorded, num_draws=50)
            drawn += recorded.seen
    assert len(drawn) == 6
    assert all(torch.equal(codes, drawn[0]) for codes in drawn)


@pytest.mark.parametrize(("estimator", "latent"), CASES)
def test_the_cost_is_evaluated_as_often_as_the_estimator_says(estimator, latent):
    recorded = Recorded(LinearCost(latent))
    draw(estimator, latent, random_logits(latent), recorded, num_draws=1)
    evaluated = recorded.seen + recorded.differentiated_at
    assert sum(codes[0].numel() * len(codes) for codes in evaluated) == (
        estimator.num_evaluations(latent) * torch.Size(latent.shape).numel()
    )


@pytest.mark.parametrize(("estimator", "latent"), CASES)
def test_whether_the_relaxation_temperature_changes_the_gradient_is_as_the_estimator_says(estimator, latent):
    first, second = (
        draw(estimator, latent, random_logits(latent), QuadraticCost(latent), num_draws=9, tau=tau * ONE).logits
        for tau in (1.0, 2.0)
    )
    assert torch.equal(first, second) != estimator.uses_relaxation_temperature


@pytest.mark.parametrize(("estimator", "latent"), CASES)
def test_the_same_generator_gives_the_same_estimate_and_no_other_stream_matters(estimator, latent):
    results = []
    for global_seed in (0, 1):
        torch.manual_seed(global_seed)
        results.append(draw(estimator, latent, random_logits(latent), QuadraticCost(latent), num_draws=9))
    assert torch.equal(results[0].cost, results[1].cost)
    assert torch.equal(results[0].logits, results[1].logits)


@pytest.mark.parametrize(("estimator", "latent"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("tau", [1e-4, 1.0, 1e4])
def test_gradients_are_finite_at_extreme_logits_and_temperatures(estimator, latent, dtype, tau):
    num_draws = 200
    signs = torch.randint(0, 2, (num_draws, *latent.shape), generator=torch.Generator().manual_seed(0)) * 2 - 1
    rows = (30 * signs).to(dtype).requires_grad_()
    cost = NetworkCost(latent, num_draws, dtype=dtype)
    estimate = estimator(
        posterior(rows, latent),
        cost,
        relaxation_temperature=torch.tensor(tau, dtype=dtype),
        generator=torch.Generator().manual_seed(3),
    )
    assert estimate.cost.dtype == estimate.surrogate.dtype == dtype
    assert torch.isfinite(estimate.cost).all()
    for gradient in torch.autograd.grad(estimate.surrogate.sum(), [rows, cost.bias]):
        assert gradient.dtype == dtype
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("estimator", "latent"), CASES)
def test_only_the_surrogate_carries_a_gradient_and_one_value_a_row_comes_back(estimator, latent):
    rows = random_logits(latent, 7).requires_grad_()
    estimate = estimator(
        posterior(rows, latent), QuadraticCost(latent), relaxation_temperature=ONE, generator=torch.Generator()
    )
    assert not estimate.cost.requires_grad
    assert estimate.surrogate.requires_grad
    assert estimate.cost.shape == estimate.surrogate.shape == (7,)


@pytest.mark.parametrize(("estimator", "latent"), CASES)
def test_models_of_low_precision_train_too(estimator, latent):
    rows = random_logits(latent, 20, dtype=torch.bfloat16).requires_grad_()
    cost = LinearCost(latent)
    estimate = estimator(posterior(rows, latent), cost, relaxation_temperature=ONE, generator=torch.Generator())
    (gradient,) = torch.autograd.grad(estimate.surrogate.sum(), rows)
    assert estimate.cost.dtype == gradient.dtype == torch.bfloat16
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", [name for name, law in RELAXATIONS.items() if "binary" in law.kinds])
@pytest.mark.parametrize("estimator", fitting_estimators(LATENTS[0]), ids=lambda estimator: estimator.name)
def test_every_relaxation_of_bits_can_be_trained_with_every_estimator(name, estimator):
    latent, law = LATENTS[0], RELAXATIONS[name]
    generator = torch.Generator().manual_seed(6)
    parameters = torch.randn(
        50, *law.parameter_shape(latent), generator=generator, dtype=torch.float64
    ).requires_grad_()
    estimate = estimator(
        law(parameters, latent), QuadraticCost(latent), relaxation_temperature=ONE, generator=generator
    )
    (gradient,) = torch.autograd.grad(estimate.surrogate.sum(), parameters)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).any(dim=0).all()


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
def test_several_codes_of_a_row_have_its_law_in_both_tails(latent):
    num_samples = 200_000
    logits = torch.cat([random_logits(latent), random_logits(latent, seed=5, scale=4.0), random_logits(latent, seed=6)])
    logits[2] -= 300.0 if latent.kind == "categorical" else 0.0  # only differences between categories count
    codes = draw_codes(posterior(logits, latent), torch.Generator().manual_seed(0), num_samples)
    assert torch.equal(codes, latent.from_indices(latent.indices(codes)).double())
    law = latent.law(logits).mean
    error = (law * (1 - law) / num_samples).sqrt()
    # Poisson where hardly any are expected: six standard errors and one code.
    allowed = standard_errors(FALSE_ALARM, law.numel()) * error + 1 / num_samples
    assert ((codes.mean(dim=0) - law).abs() <= allowed).all()


def test_a_category_that_others_leave_nothing_to_is_never_drawn_and_one_that_takes_all_always_is():
    latent = LATENTS[1]
    logits = torch.tensor([[[0.0, -400.0, -400.0], [-400.0, -400.0, 0.0]]], dtype=torch.float64)
    codes = draw_codes(posterior(logits, latent), torch.Generator().manual_seed(0), 10_000)
    assert torch.equal(codes.mean(dim=0), torch.tensor([[[1, 0, 0], [0, 0, 1]]], dtype=torch.float64))
