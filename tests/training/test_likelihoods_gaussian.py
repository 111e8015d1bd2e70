import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from training.likelihoods import GaussianLikelihood, GreyCrossEntropy


def interleaved(locations, scales, minimum):
    """Outputs of a law whose scale the decoder gives, from the scales wanted."""
    return np.stack([locations, np.log(scales - minimum)], axis=-1).reshape(len(locations), -1)


def test_log_prob_is_the_sum_of_normal_log_densities():
    rng = np.random.default_rng(0)
    locations, inputs = rng.normal(0.5, 1, (20, 6)), rng.random((20, 6))
    scales = np.exp(rng.uniform(np.log(0.006), 2, (20, 6)))
    likelihood = GaussianLikelihood((6,), scale="value", minimum_scale=0.005)
    outputs = torch.from_numpy(interleaved(locations, scales, 0.005))
    expected = stats.norm.logpdf(inputs, locations, scales).sum(axis=1)
    np.testing.assert_allclose(likelihood.log_prob(outputs, torch.from_numpy(inputs)), expected, rtol=1e-9)
    np.testing.assert_allclose(likelihood.mean(outputs), locations, rtol=0)


def test_the_density_integrates_to_one_and_has_the_mean_it_says():
    likelihood = GaussianLikelihood((1,)).double()
    likelihood.scale.raw.data.fill_(math.log(0.2))
    outputs = torch.tensor([[0.7]], dtype=torch.float64)

    def density(x):
        return likelihood.log_prob(outputs, torch.tensor([[x]], dtype=torch.float64)).exp().item()

    total, _ = integrate.quad(density, -2, 3)
    mean, _ = integrate.quad(lambda x: x * density(x), -2, 3)
    assert total == pytest.approx(1, abs=1e-8)
    assert mean == pytest.approx(likelihood.mean(outputs).item(), abs=1e-8)


def test_the_shared_scale_settles_at_the_root_mean_squared_error():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.rand(50, 8, generator=generator)
    inputs = outputs + 0.1 * torch.randn(50, 8, generator=generator)
    likelihood = GaussianLikelihood((8,))
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (-likelihood.log_prob(outputs, inputs).mean()).backward()
        optimizer.step()
    # The maximum of the likelihood over the scale, in closed form.
    expected = (inputs - outputs).square().mean().sqrt()
    _, log_scales = likelihood.scale.split(outputs)
    torch.testing.assert_close(log_scales.exp(), expected.expand(1, 8), rtol=1e-3, atol=0)


def test_the_cross_entropy_is_the_bernoulli_formula_and_no_density_on_grey_values():
    cross_entropy = GreyCrossEntropy()
    for log_odds in (0.0, 2.0):
        outputs = torch.tensor([[log_odds]], dtype=torch.float64)

        def unnormalised(x, outputs=outputs):
            return cross_entropy.log_prob(outputs, torch.tensor([[x]], dtype=torch.float64)).exp().item()

        total, _ = integrate.quad(unnormalised, 0, 1)
        # e^(x o) / (1 + e^o) integrates to tanh(o / 2) / o, and to 1/2 at o = 0.
        assert total == pytest.approx(math.tanh(log_odds / 2) / log_odds if log_odds else 0.5, rel=1e-9)
        assert total < 1
