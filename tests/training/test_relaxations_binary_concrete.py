import numpy as np
import pytest
import torch
from relaxation_cases import FALSE_ALARM, assert_probability, draw_scores, posterior
from scipy import integrate, stats
from scipy.special import expit
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli

PHIS = [-4.0, -0.5, 0.0, 2.0]
TAUS = [0.1, 0.5, 1.0, 3.0]


def binary_concrete(phis=PHIS, dtype=torch.float64):
    return posterior("binary_concrete", phis, dtype)


def test_scores_are_logistic_about_the_log_odds():
    scores = draw_scores(binary_concrete(), 50_000).numpy()
    for latent, phi in enumerate(PHIS):
        assert stats.kstest(scores[:, 0, latent], stats.logistic(phi).cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_bit_has_log_odds_phi_over_temperature(temperature):
    scores = draw_scores(binary_concrete(), 50_000, temperature)
    for latent, phi in enumerate(PHIS):
        assert_probability(scores[:, 0, latent] > 0, expit(phi / temperature))


def test_the_logits_are_the_parameters():
    assert torch.equal(binary_concrete().logits, torch.tensor([PHIS], dtype=torch.float64))


@pytest.mark.parametrize("tau", TAUS)
def test_log_prob_is_that_of_the_logit_relaxed_bernoulli(tau):
    law, tau = binary_concrete(), torch.tensor(tau, dtype=torch.float64)
    values = torch.linspace(-20, 20, 41, dtype=torch.float64)[:, None, None].expand(-1, 1, len(PHIS))
    expected = LogitRelaxedBernoulli(tau, logits=law.parameters).log_prob(values)
    torch.testing.assert_close(law.log_prob(values, tau), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("phi", PHIS)
def test_log_prob_integrates_to_one(tau, phi):
    law = binary_concrete([phi])

    def density(value):
        return law.log_prob(torch.tensor([[value]], dtype=torch.float64), torch.tensor(tau).double()).exp().item()

    total, _ = integrate.quad(density, (phi - 45) / tau, (phi + 45) / tau, points=[phi / tau], limit=200)
    assert total == pytest.approx(1, abs=1e-8)


def test_log_prob_is_finite_where_the_exponential_overflows():
    law, one = binary_concrete([0.0], torch.float32), torch.tensor(1.0)
    values = torch.tensor([[[-1e30]], [[-100.0]], [[100.0]], [[1e30]]])
    assert LogitRelaxedBernoulli(one, logits=law.parameters).log_prob(values)[1].item() == -np.inf
    torch.testing.assert_close(law.log_prob(values, one), -values.abs())


def test_a_bit_is_a_concrete_variable_of_two_categories():
    phi, tau = torch.tensor(1.3, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    pair = torch.stack([phi, torch.zeros_like(phi)])
    two = posterior("concrete", [[0.0, 0.0, 0.0]]).with_parameters(pair[None, None])
    bit = binary_concrete([phi.item()])
    noise = torch.linspace(-9, 9, 19, dtype=torch.float64)[:, None, None]
    in_pairs = torch.stack([noise, torch.zeros_like(noise)], dim=-1)
    scores, pair_scores = bit.scores(noise), two.scores(in_pairs)
    torch.testing.assert_close(two.relaxed(pair_scores, tau)[..., 0], bit.relaxed(scores, tau))
    torch.testing.assert_close(
        two.log_prob(two.relaxed_logits(pair_scores, tau), tau), bit.log_prob(bit.relaxed_logits(scores, tau), tau)
    )
