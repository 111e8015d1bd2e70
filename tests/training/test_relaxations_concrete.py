import itertools

import numpy as np
import pytest
import torch
from relaxation_cases import FALSE_ALARM, draw_scores, posterior
from scipy import stats
from scipy.special import gammaln, log_softmax, logsumexp, softmax

PHI = [0.7, -1.2, 0.1]
TAUS = [0.1, 0.5, 1.0, 3.0]


def concrete(dtype=torch.float64):
    return posterior("concrete", [PHI], dtype)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_codes_have_the_law_softmax_of_phi_over_temperature(temperature):
    law = concrete()
    codes = law.latent.indices(law.latent.most_probable(draw_scores(law, 100_000, temperature)))
    counts = np.bincount(codes.flatten().numpy(), minlength=3)
    expected = codes.numel() * softmax(np.array(PHI) / temperature)
    assert stats.chisquare(counts, expected).pvalue > FALSE_ALARM


@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_log_ratios_of_relaxed_values_are_logistic(tau):
    law = concrete()
    values = law.relaxed_logits(draw_scores(law, 50_000), torch.tensor(tau)).numpy()[:, 0, 0]
    for first, second in itertools.combinations(range(3), 2):
        expected = stats.logistic((PHI[first] - PHI[second]) / tau, 1 / tau)
        assert stats.kstest(values[:, first] - values[:, second], expected.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("tau", TAUS)
def test_log_prob_is_the_density_in_the_simplex_by_equation_10_of_maddison(tau):
    law = concrete()
    log_x = log_softmax(np.random.default_rng(1).normal(size=(50, 3)) * 2, axis=-1)
    # (n-1)! tau^(n-1) prod alpha x^(-tau-1) / (sum alpha x^-tau)^n, and the logarithms add the factor prod x.
    log_density = (
        gammaln(3)
        + 2 * np.log(tau)
        + (np.array(PHI) - (tau + 1) * log_x).sum(-1)
        - 3 * logsumexp(np.array(PHI) - tau * log_x, axis=-1)
        + log_x.sum(-1)
    )
    got = law.log_prob(torch.from_numpy(log_x)[:, None, None], torch.tensor(tau, dtype=torch.float64))
    np.testing.assert_allclose(got[:, 0, 0].numpy(), log_density, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("tau", TAUS)
def test_log_prob_integrates_to_one_over_the_log_ratios(tau):
    # The trapezium rule: the density is analytic and falls off like exp(-tau |ratio|), so that on this grid it is exact
    # to about 1e-9.
    axis = np.linspace(-45, 45, 601) / tau
    ratios = np.stack([*np.meshgrid(axis, axis, indexing="ij"), np.zeros((601, 601))], axis=-1)
    values = torch.from_numpy(log_softmax(ratios, axis=-1).reshape(-1, 1, 1, 3))
    density = concrete().log_prob(values, torch.tensor(tau, dtype=torch.float64)).exp()
    total = density.sum().item() * (axis[1] - axis[0]) ** 2
    assert total == pytest.approx(1, abs=1e-7)


def test_relaxed_logits_are_the_logarithms_of_the_relaxed_value_and_stay_finite():
    law = concrete(torch.float32)
    scores = torch.tensor([[[[3.0, 2.0, -1.0]]], [[[500.0, 0.0, -500.0]]], [[[1e30, 0.0, -1e30]]]])
    half = torch.tensor(0.5)
    logarithms = law.relaxed_logits(scores, half)
    torch.testing.assert_close(logarithms[0].exp(), law.relaxed(scores, half)[0])
    torch.testing.assert_close(logarithms[1].flatten(), torch.tensor([0.0, -1000.0, -2000.0]))
    for tau in (torch.tensor(1e-30), half, torch.tensor(1e30)):
        assert torch.isfinite(law.relaxed_logits(scores, tau)).all()
    assert torch.isfinite(law.log_prob(logarithms[:2], half)).all()
