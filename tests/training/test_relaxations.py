import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from tiny_vae import LATENTS

from training.latents import LatentConfig
from training.relaxations import relax

EXTREME = [1e-30, 1e-6, 0.1, 1.0, 10.0, 1e6, 1e30]


def scores(latent, num_rows=64, dtype=torch.float32):
    return 3 * torch.randn(num_rows, *latent.shape, generator=torch.Generator().manual_seed(2), dtype=dtype)


def by_kind(latent):
    return latent.kind


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("tau", [0.1, 0.5, 1.0, 3.0])
def test_relaxed_values_follow_the_formula(latent, tau):
    values = scores(latent, dtype=torch.float64)
    divided = values.numpy() / tau
    expected = expit(divided) if latent.kind == "binary" else softmax(divided, axis=-1)
    relaxed = relax(values, torch.tensor(tau, dtype=torch.float64), latent.kind)
    np.testing.assert_allclose(relaxed.numpy(), expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("tau", EXTREME)
def test_no_relaxation_temperature_overflows_or_changes_the_code(latent, tau):
    values = scores(latent).requires_grad_()
    relaxed = relax(values, torch.tensor(tau), latent.kind)
    assert torch.isfinite(relaxed).all()
    assert ((relaxed >= 0) & (relaxed <= 1)).all()
    relaxed.sum().backward()
    assert torch.isfinite(values.grad).all()
    codes = latent.most_probable(values)
    if latent.kind == "binary":
        # Above 1/2 for a bit of 1 and below for a bit of 0; 1/2 itself only where float32 has nothing nearer.
        assert ((relaxed - 0.5) * (2 * codes - 1) >= 0).all()
    else:
        torch.testing.assert_close(relaxed.sum(dim=-1), torch.ones(relaxed.shape[:-1]))
        assert torch.equal((relaxed * codes).sum(dim=-1), relaxed.amax(dim=-1))


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_a_small_relaxation_temperature_rounds_to_the_code_and_a_large_one_to_the_centre(latent):
    values = scores(latent)
    assert torch.equal(relax(values, torch.tensor(1e-30), latent.kind), latent.most_probable(values))
    centre = torch.full_like(values, 1 / latent.num_categories)
    torch.testing.assert_close(relax(values, torch.tensor(1e30), latent.kind), centre)


def test_scores_of_any_size_are_relaxed_without_overflow():
    latent = LatentConfig(kind="categorical", num_latents=1, num_categories=3)
    values = torch.tensor([[[3e38, 0.0, -3e38]], [[-3e38, -3e38, -3e38]]])
    relaxed = relax(values, torch.tensor(0.5), latent.kind)
    torch.testing.assert_close(relaxed, torch.tensor([[[1.0, 0.0, 0.0]], [[1 / 3, 1 / 3, 1 / 3]]]))


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_each_row_may_have_its_own_relaxation_temperature(latent):
    values = scores(latent, num_rows=3)
    taus = torch.tensor([0.2, 1.0, 5.0])
    together = relax(values, taus.reshape(-1, *(1 for _ in latent.shape)), latent.kind)
    for row, tau in enumerate(taus):
        torch.testing.assert_close(together[row], relax(values[row], tau, latent.kind))
