import numpy as np
import pytest
import torch
from relaxation_cases import assert_probability, draw_scores, posterior
from scipy.special import expit

from training.relaxations import RELAXATIONS
from training.relaxations.stretched import GAMMA, ZETA

UNSTRETCHED = {"hard_concrete": "binary_concrete", "hard_kumaraswamy": "kumaraswamy"}
PARAMETERS = {
    "hard_concrete": [-3.0, -0.2, 0.0, 1.5],
    "hard_kumaraswamy": [[0.0, 0.0], [1.0, -0.5], [-0.7, 0.8], [0.6, 0.9]],
}
NAMES = list(UNSTRETCHED)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tau", [0.1, 1.0, 3.0])
def test_the_relaxed_value_is_the_stretched_one_clamped(name, tau):
    law = posterior(name, PARAMETERS[name])
    scores = draw_scores(law, 200)
    expected = np.clip(GAMMA + (ZETA - GAMMA) * expit(scores.numpy() / tau), 0, 1)
    relaxed = law.relaxed(scores, torch.tensor(tau, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(relaxed, expected, atol=1e-14)


def test_the_stretch_has_one_half_for_its_fixed_point():
    assert abs(GAMMA + ZETA - 1) < 1e-15
    law = posterior("hard_concrete", [0.0], torch.float32)
    for tau in (1e-30, 1.0, 1e30):
        assert law.relaxed(torch.zeros(1, 1), torch.tensor(tau)).item() == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_scores_and_laws_are_those_of_the_unstretched_relaxation(name):
    law, other = posterior(name, PARAMETERS[name]), posterior(UNSTRETCHED[name], PARAMETERS[name])
    tau = torch.tensor(0.7, dtype=torch.float64)
    scores = draw_scores(law, 50)
    assert torch.equal(scores, draw_scores(other, 50))
    assert torch.equal(law.logits, other.logits)
    values = law.relaxed_logits(scores, tau)
    assert torch.equal(values, other.relaxed_logits(scores, tau))
    assert torch.equal(law.log_prob(values, tau), other.log_prob(values, tau))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tau", [0.2, 0.7, 1.5])
def test_exact_zeros_and_ones_have_their_closed_form_probabilities(name, tau):
    law, tau = posterior(name, PARAMETERS[name]), torch.tensor(tau, dtype=torch.float64)
    relaxed = law.relaxed(draw_scores(law, 50_000), tau)
    zero, one = law.log_prob_of_zero(tau).exp()[0], law.log_prob_of_one(tau).exp()[0]
    for latent in range(relaxed.shape[-1]):
        assert_probability(relaxed[:, 0, latent] == 0, zero[latent])
        assert_probability(relaxed[:, 0, latent] == 1, one[latent])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tau", [0.2, 0.7, 1.5])
def test_the_masses_at_zero_and_one_and_the_density_between_them_add_up_to_one(name, tau):
    law, tau = posterior(name, PARAMETERS[name]), torch.tensor(tau, dtype=torch.float64)
    # Between the logits that are stretched to 0 and to 1, the clamp changes nothing.
    edge = np.log((1 - GAMMA) / -GAMMA)
    logits, weights = (part * edge for part in np.polynomial.legendre.leggauss(400))
    points = torch.from_numpy(logits)[:, None, None].expand(-1, 1, len(PARAMETERS[name]))
    between = torch.from_numpy(weights) @ law.log_prob(points, tau)[:, 0].exp()
    total = law.log_prob_of_zero(tau).exp()[0] + between + law.log_prob_of_one(tau).exp()[0]
    np.testing.assert_allclose(total.numpy(), 1.0, rtol=1e-6)


def test_the_probability_of_not_being_zero_is_that_of_the_l0_penalty():
    # Louizos, Welling and Kingma 2018: sigmoid(log alpha - beta log(-gamma / zeta)).
    log_alpha, beta = np.array(PARAMETERS["hard_concrete"]), 2 / 3
    law = posterior("hard_concrete", log_alpha.tolist())
    not_zero = -law.log_prob_of_zero(torch.tensor(beta, dtype=torch.float64)).expm1()
    np.testing.assert_allclose(not_zero[0].numpy(), expit(log_alpha - beta * np.log(-GAMMA / ZETA)), rtol=1e-7)


def test_at_tau_one_the_probabilities_are_those_of_the_stretched_kumaraswamy():
    # Bastings, Aziz and Titov 2019: F(-gamma / (zeta - gamma)) and 1 - F((1 - gamma) / (zeta - gamma)).
    law, one = posterior("hard_kumaraswamy", PARAMETERS["hard_kumaraswamy"]), torch.tensor(1.0, dtype=torch.float64)
    a, b = np.exp(3 * np.tanh(np.array(PARAMETERS["hard_kumaraswamy"]) / 3)).T
    np.testing.assert_allclose(law.log_prob_of_zero(one)[0].exp(), 1 - (1 - (1 / 12) ** a) ** b, rtol=1e-9)
    np.testing.assert_allclose(law.log_prob_of_one(one)[0].exp(), (1 - (11 / 12) ** a) ** b, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_value_that_is_clamped_has_no_gradient_and_one_inside_has_that_of_the_stretch(name):
    relaxation = RELAXATIONS[name]
    scores = torch.tensor([[-3.0, -2.0, 2.0, 3.0]], dtype=torch.float64, requires_grad=True)
    law = posterior(name, PARAMETERS[name])
    assert isinstance(law, relaxation)
    law.relaxed(scores, torch.tensor(1.0, dtype=torch.float64)).sum().backward()
    slope = 1.2 * expit(2) * expit(-2)
    np.testing.assert_allclose(scores.grad.numpy(), [[0, slope, slope, 0]], rtol=1e-12)
