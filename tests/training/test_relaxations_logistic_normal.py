import numpy as np
import pytest
import torch
from relaxation_cases import FALSE_ALARM, assert_probability, draw_scores, posterior
from scipy import integrate, stats
from scipy.special import log_ndtr, ndtr
from torch.distributions import LogisticNormal as OnTheSimplex

from training.relaxations.normal_odds import GREATEST, normal_log_odds
from training.relaxations.positive import log_of_positive

PARAMETERS = [[-1.5, 0.3], [0.0, 0.0], [0.4, -1.0], [2.0, 1.2]]
MEANS = [mean for mean, _ in PARAMETERS]
DEVIATIONS = [np.exp(3 * np.tanh(log_deviation / 3)) for _, log_deviation in PARAMETERS]
TAUS = [0.1, 0.5, 1.0, 3.0]


def logistic_normal(parameters=PARAMETERS, dtype=torch.float64):
    return posterior("logistic_normal", parameters, dtype)


def test_scores_are_normal():
    scores = draw_scores(logistic_normal(), 50_000).numpy()
    for latent, (mean, deviation) in enumerate(zip(MEANS, DEVIATIONS, strict=True)):
        assert stats.kstest(scores[:, 0, latent], stats.norm(mean, deviation).cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_bit_is_one_with_probability_phi_of_the_mean_over_temperature_and_deviation(temperature):
    scores = draw_scores(logistic_normal(), 50_000, temperature)
    for latent, (mean, deviation) in enumerate(zip(MEANS, DEVIATIONS, strict=True)):
        assert_probability(scores[:, 0, latent] > 0, ndtr(mean / (temperature * deviation)))


def test_the_logits_are_those_of_the_rounded_value():
    expected = [log_ndtr(u / s) - log_ndtr(-u / s) for u, s in zip(MEANS, DEVIATIONS, strict=True)]
    np.testing.assert_allclose(logistic_normal().logits.numpy(), [expected], rtol=1e-9)


def test_outputs_of_zero_give_a_fair_bit():
    assert logistic_normal([[0.0, 0.0]]).logits.item() == 0


@pytest.mark.parametrize("tau", TAUS)
def test_log_prob_is_that_of_the_logistic_normal_on_the_simplex(tau):
    law, tau = logistic_normal(), torch.tensor(tau, dtype=torch.float64)
    values = torch.linspace(-4, 4, 33, dtype=torch.float64)[:, None, None].expand(-1, 1, len(PARAMETERS))
    mean, deviation = torch.tensor([MEANS, DEVIATIONS], dtype=torch.float64)
    # The relaxed value is a logistic-normal with mean u / tau and deviation s / tau.
    simplex = torch.stack([values.sigmoid(), (-values).sigmoid()], dim=-1)
    expected = OnTheSimplex(mean[:, None] / tau, deviation[:, None] / tau).log_prob(simplex)
    expected = expected + values.sigmoid().log() + (-values).sigmoid().log()
    torch.testing.assert_close(law.log_prob(values, tau), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("latent", range(len(PARAMETERS)))
def test_log_prob_integrates_to_one(tau, latent):
    law = logistic_normal([PARAMETERS[latent]])
    mean, deviation = MEANS[latent], DEVIATIONS[latent]

    def density(value):
        return law.log_prob(torch.tensor([[value]], dtype=torch.float64), torch.tensor(tau).double()).exp().item()

    total, _ = integrate.quad(density, (mean - 12 * deviation) / tau, (mean + 12 * deviation) / tau, limit=200)
    assert total == pytest.approx(1, abs=1e-8)


def test_log_prob_and_its_gradient_are_finite_for_any_score():
    parameters = torch.tensor([[[0.3, -9.0], [0.3, 9.0]]], requires_grad=True)
    law = logistic_normal([[0.0, 0.0]] * 2, torch.float32).with_parameters(parameters)
    values = torch.tensor([-3e38, -1e30, -100.0, 0.0, 100.0, 1e30, 3e38])[:, None, None].expand(-1, 1, 2)
    log_density = law.log_prob(values, torch.tensor(1.0))
    assert torch.isfinite(log_density).all()
    log_density.sum().backward()
    assert torch.isfinite(parameters.grad).all()


@pytest.mark.parametrize(("outputs", "expected"), [(0.0, 0.0), (0.01, 0.01), (1e4, 3.0), (-1e4, -3.0)])
def test_positive_parameters_are_exponentials_within_bounds(outputs, expected):
    assert log_of_positive(torch.tensor(outputs)).item() == pytest.approx(expected, rel=1e-5)


def test_normal_log_odds_are_those_of_scipy():
    x = np.concatenate([np.logspace(-6, 17.9, 400), [0.5, 1, 3, 5, 7, 7.5, 8, 14, 20, 38]])
    x = np.concatenate([-x, [0.0], x])
    got = normal_log_odds(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got, log_ndtr(x) - log_ndtr(-x), rtol=6e-9)
    near = np.abs(x) <= 3
    np.testing.assert_allclose(got[near], (log_ndtr(x) - log_ndtr(-x))[near], rtol=1e-12, atol=1e-15)


def test_the_gradient_of_normal_log_odds_is_that_of_its_closed_form():
    x = torch.tensor([-1e15, -40.0, -7.0, -1.0, -1e-9, 0.0, 0.3, 6.5, 30.0, 1e15], dtype=torch.float64)
    x.requires_grad_()
    normal_log_odds(x).sum().backward()
    at = x.detach().numpy()
    expected = np.exp(stats.norm.logpdf(at[1:-1]) - log_ndtr(at[1:-1]) - log_ndtr(-at[1:-1]))
    np.testing.assert_allclose(x.grad.numpy()[1:-1], expected, rtol=1e-7)
    # Far out it is |x|, where the closed form is a difference of numbers too large to subtract.
    np.testing.assert_allclose(x.grad.numpy()[[0, -1]], [1e15, 1e15], rtol=1e-9)


def test_normal_log_odds_are_finite_for_every_float32():
    x = torch.tensor([-3e38, -1e20, -1e-40, 0.0, 1e-40, 1e20, 3e38], requires_grad=True)
    odds = normal_log_odds(x)
    assert torch.isfinite(odds).all()
    assert odds[-1].item() == pytest.approx(GREATEST**2 / 2)
    odds.sum().backward()
    assert torch.isfinite(x.grad).all()
