import pytest
import torch
from scipy.stats import gumbel_r, kstest, logistic, norm

from training import noise

FALSE_ALARM = 1e-4


@pytest.mark.parametrize(("name", "law"), [("gumbel", gumbel_r), ("logistic", logistic), ("normal", norm)])
def test_noise_has_the_law_of_its_name(name, law):
    values = noise.draw(name, (100_000,), torch.Generator().manual_seed(5))
    assert kstest(values.double().numpy(), law.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize(("name", "other"), [("gumbel", logistic), ("logistic", gumbel_r), ("normal", logistic)])
def test_one_noise_cannot_be_mistaken_for_another(name, other):
    values = noise.draw(name, (100_000,), torch.Generator().manual_seed(5))
    assert kstest(values.double().numpy(), other.cdf).pvalue < 1e-100


@pytest.mark.parametrize("name", ["gumbel", "logistic", "normal"])
def test_noise_is_finite_in_both_tails(name):
    # 2^26 draws: of a float32 uniform in multiples of 2^-24 four would be 0, whose logarithm is infinite.
    generator = torch.Generator().manual_seed(0)
    for _ in range(16):
        assert torch.isfinite(noise.draw(name, (1 << 22,), generator)).all()


@pytest.mark.parametrize("name", ["gumbel", "logistic", "normal"])
def test_noise_is_float32_whatever_the_default_is(name):
    torch.set_default_dtype(torch.bfloat16)
    try:
        values = noise.draw(name, (1000,), torch.Generator().manual_seed(0))
    finally:
        torch.set_default_dtype(torch.float32)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, noise.draw(name, (1000,), torch.Generator().manual_seed(0)), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["gumbel", "logistic", "normal"])
def test_noise_comes_from_the_generator_alone(name):
    generator = torch.Generator().manual_seed(9)
    first = noise.draw(name, (3, 4), generator)
    torch.manual_seed(1)
    second = noise.draw(name, (3, 4), generator)
    torch.manual_seed(2)
    again = noise.draw(name, (3, 4), torch.Generator().manual_seed(9))
    assert first.shape == (3, 4)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
