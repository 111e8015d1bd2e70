import decimal
from decimal import Decimal

import numpy as np
import pytest
import torch
from relaxation_cases import FALSE_ALARM, LOGIT_OF_EXTREME, assert_probability, draw_scores, posterior
from scipy import integrate, stats
from scipy.special import expit, logit
from torch.distributions import Kumaraswamy as OnTheInterval

from training.relaxations.powers import logit_of_power

# log a, log b as the encoder gives them.
PARAMETERS = [[0.0, 0.0], [1.0, -0.5], [-0.7, 0.8], [0.6, 0.9]]
SHAPES = [tuple(np.exp(3 * np.tanh(np.array(pair) / 3))) for pair in PARAMETERS]
TAUS = [0.1, 0.5, 1.0, 3.0]
NOISE = [-LOGIT_OF_EXTREME, -12.0, -1.0, -1e-3, 0.0, 0.4, 2.0, 15.0, LOGIT_OF_EXTREME]


def kumaraswamy(parameters=PARAMETERS, dtype=torch.float64):
    return posterior("kumaraswamy", parameters, dtype)


def logit_of_quantile(noise: float, a: float, b: float) -> float:
    """The scores as they are defined, with a thousand digits in between."""
    with decimal.localcontext(prec=1000, Emin=-(10**9), Emax=10**9):
        below = 1 / (1 + Decimal(noise).exp())
        value = (1 - below ** (1 / Decimal(b))) ** (1 / Decimal(a))
        return float((value / (1 - value)).ln())


@pytest.mark.parametrize("parameters", [*PARAMETERS, [9.0, 9.0], [-9.0, -9.0], [9.0, -9.0], [-9.0, 9.0]], ids=str)
def test_scores_are_the_logit_of_the_quantile_to_a_thousand_digits(parameters):
    a, b = np.exp(3 * np.tanh(np.array(parameters) / 3))
    law = kumaraswamy([parameters])
    got = law.scores(torch.tensor(NOISE, dtype=torch.float64)[:, None, None])[:, 0, 0]
    expected = [logit_of_quantile(noise, a, b) for noise in NOISE]
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-11, atol=1e-12)


def test_scores_are_about_noise_over_a_shape_far_out():
    law = kumaraswamy([[0.5, -0.8]], torch.float32)
    a, b = np.exp(3 * np.tanh(np.array([0.5, -0.8]) / 3))
    got = law.scores(torch.tensor([-30.0, 30.0])[:, None, None], 1e30).flatten()
    np.testing.assert_allclose(got.numpy(), [-3e31 / a, 3e31 / b], rtol=1e-6)


def test_a_uniform_has_its_own_noise_for_scores():
    law = kumaraswamy([[0.0, 0.0]])
    noise = torch.tensor(NOISE, dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(law.scores(noise), noise, rtol=1e-12, atol=1e-13)
    assert law.logits.item() == pytest.approx(0, abs=1e-14)


def test_relaxed_values_have_the_distribution_function_of_kumaraswamy():
    law = kumaraswamy()
    values = law.relaxed(draw_scores(law, 50_000).double(), torch.tensor(1.0, dtype=torch.float64)).numpy()
    for latent, (a, b) in enumerate(SHAPES):
        assert stats.kstest(values[:, 0, latent], lambda x, a=a, b=b: 1 - (1 - x**a) ** b).pvalue > FALSE_ALARM


def test_the_logits_are_those_of_the_rounded_value():
    expected = [logit((1 - 2**-a) ** b) for a, b in SHAPES]
    np.testing.assert_allclose(kumaraswamy().logits.numpy(), [expected], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_bit_has_its_log_odds_over_temperature(temperature):
    scores = draw_scores(kumaraswamy(), 50_000, temperature)
    for latent, (a, b) in enumerate(SHAPES):
        assert_probability(scores[:, 0, latent] > 0, expit(logit((1 - 2**-a) ** b) / temperature))


def test_without_noise_the_relaxed_value_is_the_median():
    law = kumaraswamy()
    median = law.relaxed(law.scores(torch.randn(1, 4), 0.0), torch.tensor(1.0))
    expected = [(1 - 0.5 ** (1 / b)) ** (1 / a) for a, b in SHAPES]
    np.testing.assert_allclose(median.numpy(), [expected], rtol=1e-6)


def test_noise_and_log_odds_add_up_to_the_sign_of_the_scores():
    # What makes the codes those of a binary Concrete bit: s > 0 just where logistic > -logits.
    law = kumaraswamy([*torch.linspace(-6, 6, 60).reshape(30, 2).tolist(), [3.0, -8.0], [-8.0, 3.0]])
    for nudge, sign in ((-1e-9, -1), (1e-9, 1)):
        scores = law.scores(-law.logits + nudge * law.logits.abs().clamp_min(1))
        assert (scores.sign() == sign).all()


@pytest.mark.parametrize("tau", TAUS)
def test_log_prob_is_that_of_kumaraswamy(tau):
    law, tau = kumaraswamy(), torch.tensor(tau, dtype=torch.float64)
    scores = torch.linspace(-6, 6, 49, dtype=torch.float64)[:, None, None].expand(-1, 1, len(PARAMETERS))
    a, b = torch.tensor(SHAPES, dtype=torch.float64).unbind(-1)
    expected = OnTheInterval(a, b).log_prob(scores.sigmoid())
    expected = expected + scores.sigmoid().log() + (-scores).sigmoid().log() + tau.log()
    torch.testing.assert_close(law.log_prob(scores / tau, tau), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("parameters", [*PARAMETERS, [-2.0, 2.0], [2.0, -2.0]], ids=str)
def test_log_prob_integrates_to_one(tau, parameters):
    law = kumaraswamy([parameters])
    ends = law.scores(torch.tensor([-40.0, 0.0, 40.0], dtype=torch.float64)[:, None, None]).flatten().numpy() / tau

    def density(value):
        return law.log_prob(torch.tensor([[value]], dtype=torch.float64), torch.tensor(tau).double()).exp().item()

    total, _ = integrate.quad(density, ends[0], ends[-1], points=[ends[1]], limit=500)
    assert total == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("log_exponent", [-3.0, -0.4, 0.0, 1.7, 3.0])
def test_logits_of_powers_are_right_to_a_thousand_digits(log_exponent):
    logits = [-700.0, -41.0, -39.0, -15.1, -14.9, -1.0, 0.0, 1e-9, 3.0, 14.0, 16.0, 40.0, 600.0]

    def expected(value):
        with decimal.localcontext(prec=1000, Emin=-(10**9), Emax=10**9):
            power = (1 / (1 + (-Decimal(value)).exp())) ** Decimal(log_exponent).exp()
            return float((power / (1 - power)).ln())

    got = logit_of_power(
        torch.tensor(logits, dtype=torch.float64), torch.tensor([log_exponent] * len(logits), dtype=torch.float64)
    )
    np.testing.assert_allclose(got.numpy(), list(map(expected, logits)), rtol=1e-12, atol=1e-12)


def test_a_power_of_one_and_the_inverse_power_leave_a_logit_as_it_is():
    logits = torch.tensor([-1e32, -50.0, -15.0, 0.0, 15.0, 50.0, 1e32], dtype=torch.float64)
    exponent = torch.full_like(logits, 1.3)
    torch.testing.assert_close(logit_of_power(logits, 0 * exponent), logits, rtol=1e-12, atol=1e-13)
    back = logit_of_power(logit_of_power(logits, exponent), -exponent)
    torch.testing.assert_close(back, logits, rtol=1e-12, atol=1e-12)


def test_the_gradient_of_a_power_is_right_on_both_sides_of_every_branch():
    logits = torch.tensor([-60.0, -16.0, -14.0, 0.0, 13.0, 14.999, 15.001, 33.0], dtype=torch.float64)
    log_exponent = torch.linspace(-2.9, 2.9, 8, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        logit_of_power, (logits.requires_grad_(), log_exponent.requires_grad_()), rtol=1e-6, atol=1e-8
    )
