"""The sampler graph against the formula of `models.graphs`, spelt in numpy in float64."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import chisquare

from models import noise

NUM_ROWS = 64
FALSE_ALARM = 1e-4


def run(exported, *, temperature, tau, num_rows=NUM_ROWS, seed=3):
    """Random logits and real noise through the graph; scores in float64 beside what came."""
    latent = exported.model.latent
    logits = np.random.default_rng(1).normal(0, 3, (num_rows, *latent.shape)).astype(np.float32)
    standard = noise.draw(latent.noise, seed, num_rows, latent.shape)
    temperatures = np.broadcast_to(np.float32(temperature), (num_rows,)).copy()
    taus = np.broadcast_to(np.float32(tau), (num_rows,)).copy()
    sampled = exported.runtime.sample(logits, standard, temperatures, taus)
    rows = (-1, *(1 for _ in latent.shape))
    # The sum is rounded to float32, as the graph does; the quotient and what follows are exact.
    scores = (logits + temperatures.reshape(rows) * standard).astype(np.float64)
    return logits.astype(np.float64), scores, taus.reshape(rows).astype(np.float64), sampled


def squash(scores, kind):
    return expit(scores) if kind == "binary" else softmax(scores, axis=-1)


def most_probable(scores, kind):
    return scores > 0 if kind == "binary" else scores.argmax(axis=-1)


@pytest.mark.parametrize("temperature", [0.0, 1e-3, 0.7, 1.0, 3.0, 1e4])
@pytest.mark.parametrize("tau", [0.05, 0.5, 1.0, 20.0])
def test_every_output_follows_the_formula(exported, temperature, tau):
    kind = exported.model.latent.kind
    logits, scores, taus, sampled = run(exported, temperature=temperature, tau=tau)
    np.testing.assert_array_equal(sampled.codes, most_probable(scores, kind))
    np.testing.assert_allclose(sampled.relaxed, squash(scores / taus, kind), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(sampled.probabilities, squash(logits, kind), rtol=2e-5, atol=1e-6)
    ordered = np.sort(scores, axis=-1)
    margins = np.abs(scores) if kind == "binary" else ordered[..., -1] - ordered[..., -2]
    np.testing.assert_allclose(sampled.margins, margins, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("tau", [1e-30, 1e-6, 1e6, 1e30])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 1e6])
def test_extreme_temperatures_give_finite_values_and_the_same_codes(exported, temperature, tau):
    kind = exported.model.latent.kind
    _, scores, _, sampled = run(exported, temperature=temperature, tau=tau)
    _, _, _, ordinary = run(exported, temperature=temperature, tau=1.0)
    for values in (sampled.relaxed, sampled.probabilities, sampled.margins):
        assert np.isfinite(values).all()
    np.testing.assert_array_equal(sampled.codes, ordinary.codes)
    np.testing.assert_array_equal(sampled.margins, ordinary.margins)
    np.testing.assert_array_equal(sampled.probabilities, ordinary.probabilities)
    if tau == 1e-30:
        one_hot = scores > 0 if kind == "binary" else np.eye(scores.shape[-1])[scores.argmax(axis=-1)]
        np.testing.assert_array_equal(sampled.relaxed, one_hot)


def test_temperature_zero_gives_the_most_probable_code_whatever_the_noise(exported):
    first, second = (run(exported, temperature=0.0, tau=0.5, seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(first[3].codes, most_probable(first[0], exported.model.latent.kind))
    for one, other in zip(first[3], second[3], strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_may_have_temperatures_of_their_own(exported):
    temperatures, taus = np.linspace(0, 3, NUM_ROWS), np.linspace(0.1, 5, NUM_ROWS)
    *_, together = run(exported, temperature=temperatures, tau=taus)
    for row in (0, 1, 31, NUM_ROWS - 1):
        *_, alone = run(exported, temperature=temperatures[row], tau=taus[row])
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_array_equal(one[row], other[row])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sampled_codes_have_the_law_softmax_of_logits_over_temperature(exported, temperature):
    num_draws = 20_000
    latent = exported.model.latent
    logits = np.random.default_rng(5).normal(0, 1.5, (1, *latent.shape)).astype(np.float32)
    sampled = exported.runtime.sample(
        np.broadcast_to(logits, (num_draws, *latent.shape)).copy(),
        noise.draw(latent.noise, 17, num_draws, latent.shape),
        np.full(num_draws, temperature, dtype=np.float32),
        np.ones(num_draws, dtype=np.float32),
    )
    for number in range(latent.num_latents):
        phi = logits[0, number].astype(np.float64) / temperature
        law = np.array([expit(-phi), expit(phi)]) if latent.kind == "binary" else softmax(phi)
        counts = np.bincount(sampled.codes[:, number], minlength=latent.num_categories)
        assert chisquare(counts, num_draws * law).pvalue > FALSE_ALARM / latent.num_latents
