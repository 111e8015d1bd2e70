import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from scipy.stats import chisquare
from tiny_vae import BITS, CATEGORIES, LATENTS, all_codes, standard_errors

from models.errors import CodeError
from training import noise
from training.latents import LatentConfig, log_softmax

FALSE_ALARM = 1e-4
"""Of each statistical test below, over draws; with its fixed seed a test that passes once passes always."""


def random_logits(latent, num_rows=3, scale=2.0):
    generator = torch.Generator().manual_seed(7)
    return scale * torch.randn(num_rows, *latent.shape, generator=generator, dtype=torch.float64)


def by_kind(latent):
    return latent.kind


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_perturbed_logits_sample_the_law_softmax_of_logits_over_temperature(latent, temperature):
    num_draws = 40_000
    logits = random_logits(latent, num_rows=1)
    generator = torch.Generator().manual_seed(11)
    standard = noise.draw(latent.noise, (num_draws, *latent.shape), generator).double()
    indices = latent.indices(latent.most_probable(logits + temperature * standard)).numpy()
    phi = logits[0].numpy() / temperature
    for number in range(latent.num_latents):
        counts = np.bincount(indices[:, number], minlength=latent.num_categories)
        ones = expit(phi[number])
        law = np.array([1 - ones, ones]) if latent.kind == "binary" else softmax(phi[number])
        assert chisquare(counts, num_draws * law).pvalue > FALSE_ALARM / latent.num_latents


def test_a_bit_sampled_with_gumbel_noise_would_fail_the_same_test():
    # With one Gumbel a bit of logit 0 is 1 with probability 1 - exp(-1) = 0.63 instead of 0.5.
    num_draws = 40_000
    standard = noise.draw("gumbel", (num_draws, 1), torch.Generator().manual_seed(11))
    ones = int(LatentConfig(num_latents=1).most_probable(standard).sum())
    assert chisquare([num_draws - ones, ones]).pvalue < 1e-100


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_laws_of_all_codes_sum_to_one(latent):
    law = latent.law(random_logits(latent).unsqueeze(1))
    log_probabilities = law.log_prob(all_codes(latent)).sum(dim=-1)
    torch.testing.assert_close(log_probabilities.exp().sum(dim=1), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_kl_is_the_sum_over_values_of_its_definition(latent):
    logits, prior_logits = random_logits(latent, 5), random_logits(latent, 1)[0]
    if latent.kind == "binary":
        q, p = (np.stack([1 - expit(v), expit(v)], axis=-1) for v in (logits.numpy(), prior_logits.numpy()))
    else:
        q, p = softmax(logits.numpy(), axis=-1), softmax(prior_logits.numpy(), axis=-1)
    np.testing.assert_allclose(latent.kl(logits, prior_logits), (q * np.log(q / p)).sum(axis=-1), rtol=1e-12)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_kl_is_what_torch_says_where_torch_can(latent):
    logits, prior_logits = random_logits(latent, 5), random_logits(latent, 1)[0]
    expected = torch.distributions.kl_divergence(latent.law(logits), latent.law(prior_logits.expand_as(logits)))
    torch.testing.assert_close(latent.kl(logits, prior_logits), expected)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_kl_is_the_mean_log_ratio_of_samples(latent):
    num_draws = 100_000
    logits, prior_logits = random_logits(latent, 1), torch.zeros(latent.shape, dtype=torch.float64)
    standard = noise.draw(latent.noise, (num_draws, *latent.shape), torch.Generator().manual_seed(3)).double()
    codes = latent.most_probable(logits + standard)
    log_ratio = latent.law(logits).log_prob(codes) - latent.law(prior_logits).log_prob(codes)
    error = log_ratio.std(dim=0) / num_draws**0.5
    allowed = standard_errors(FALSE_ALARM, latent.num_latents) * error
    assert ((log_ratio.mean(dim=0) - latent.kl(logits, prior_logits)[0]).abs() < allowed).all()


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_kl_of_a_certain_latent_is_the_logarithm_of_how_many_values_it_excludes(latent):
    logits = 1e5 * (2 * all_codes(latent).float() - 1)
    logits.requires_grad_()
    kl = latent.kl(logits, torch.zeros(latent.shape))
    torch.testing.assert_close(kl, torch.full_like(kl, np.log(latent.num_categories)))
    kl.sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_indices_and_codes_as_tensors_are_each_others_inverse(latent):
    codes = all_codes(latent)
    indices = latent.indices(codes)
    assert len(np.unique(indices, axis=0)) == latent.num_categories**latent.num_latents
    torch.testing.assert_close(latent.from_indices(indices).double(), codes, rtol=0, atol=0)


def test_the_most_probable_of_equal_scores_is_one_code():
    assert BITS.most_probable(torch.tensor([[0.0, -0.0, 1e-30, -1e-30]])).tolist() == [[0, 0, 1, 0]]
    tied = torch.tensor([[[1.0, 1.0, 1.0], [0.0, 2.0, 2.0]]])
    assert CATEGORIES.most_probable(tied).tolist() == [[[1, 0, 0], [0, 1, 0]]]


def test_margins_are_the_distance_between_the_two_best_scores():
    scores = random_logits(CATEGORIES, 50)
    ordered = np.sort(scores.numpy(), axis=-1)
    np.testing.assert_array_equal(CATEGORIES.margins(scores), ordered[..., -1] - ordered[..., -2])
    assert CATEGORIES.margins(torch.tensor([[[3.0, 1.0, 3.0], [0.0, 0.5, -9.0]]])).tolist() == [[0.0, 0.5]]
    assert BITS.margins(torch.tensor([[0.0, -2.0, 0.25, 1e6]])).tolist() == [[0.0, 2.0, 0.25, 1e6]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "binary", "num_categories": 3}, "num_categories: expected 2 for binary latents, got 3"),
        ({"num_latents": 0}, "num_latents: expected at least 1, got 0"),
        ({"kind": "categorical", "num_categories": 1}, "num_categories: expected 2 to 65536, got 1"),
    ],
)
def test_latents_that_cannot_be_are_refused(options, message):
    with pytest.raises((ValueError, CodeError), match=message):
        LatentConfig(**options)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0, 1e6])
def test_log_softmax_is_that_of_torch_with_its_gradient_however_large_the_scores(scale):
    ours = scale * random_logits(CATEGORIES)
    ours.requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    weights = random_logits(CATEGORIES, scale=1.0)
    got, expected = log_softmax(ours), torch.log_softmax(theirs, dim=-1)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    (weights * got).sum().backward()
    (weights * expected).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)
