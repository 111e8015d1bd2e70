import itertools

import numpy as np
import torch
from scipy.special import expit, log_expit

from training.likelihoods import BernoulliLikelihood

LIKELIHOOD = BernoulliLikelihood()


def test_log_prob_is_the_sum_over_values_of_bernoulli_log_probabilities():
    rng = np.random.default_rng(0)
    outputs = rng.normal(0, 8, (200, 30)).astype(np.float32)
    inputs = (rng.random((200, 30)) < 0.5).astype(np.float32)
    log_odds = outputs.astype(np.float64)
    expected = np.where(inputs == 1, log_expit(log_odds), log_expit(-log_odds)).sum(axis=1)
    got = LIKELIHOOD.log_prob(torch.from_numpy(outputs), torch.from_numpy(inputs))
    # float32: each value within 2e-6, the sum within that and its own rounding.
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=30 * 2e-6)


def test_the_probabilities_of_all_inputs_sum_to_one():
    outputs = torch.tensor([0.3, -2.0, 5.0], dtype=torch.float64)
    inputs = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.float64)
    total = LIKELIHOOD.log_prob(outputs.expand(len(inputs), -1), inputs).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0, dtype=torch.float64))


def test_log_odds_of_any_size_have_a_finite_log_prob_and_gradient():
    outputs = torch.tensor([[1e4, 1e4, -1e4, -1e4, 0.0]], requires_grad=True)
    log_prob = LIKELIHOOD.log_prob(outputs, torch.tensor([[1.0, 0.0, 1.0, 0.0, 1.0]]))
    np.testing.assert_allclose(log_prob.detach(), [-2e4 - np.log(2)])
    log_prob.sum().backward()
    np.testing.assert_allclose(outputs.grad, [[0, -1, 1, 0, 0.5]], atol=1e-7)


def test_the_gradient_is_the_input_minus_its_mean():
    rng = np.random.default_rng(1)
    outputs = torch.from_numpy(rng.normal(0, 3, (10, 4))).requires_grad_()
    inputs = torch.from_numpy(rng.random((10, 4)).round())
    LIKELIHOOD.log_prob(outputs, inputs).sum().backward()
    np.testing.assert_allclose(outputs.grad, inputs.numpy() - expit(outputs.detach().numpy()), rtol=1e-9, atol=1e-12)


def test_initial_outputs_give_the_mean_of_the_data_kept_off_zero_and_one():
    mean = torch.tensor([0.0, 0.001, 0.2, 0.5, 0.93, 1.0])
    outputs = LIKELIHOOD.initial_bias(mean).unsqueeze(0)
    assert torch.isfinite(outputs).all()
    torch.testing.assert_close(LIKELIHOOD.mean(outputs), torch.tensor([[0.001, 0.001, 0.2, 0.5, 0.93, 0.999]]))
