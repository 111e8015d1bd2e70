import pytest
import torch
from estimator_cases import LATENTS, ONE, QuadraticCost, by_kind, draw, random_logits
from scipy.stats import ks_2samp
from tiny_vae import all_codes, standard_errors

from training import noise
from training.estimators import GumbelRao, StraightThroughGumbel
from training.estimators.gumbel_rao import conditional_scores

FALSE_ALARM = 1e-4


def perturbed(latent, logits, num_draws, seed):
    """Logits plus standard noise: [num_draws, *latent]."""
    standard = noise.draw(latent.noise, (num_draws, *latent.shape), torch.Generator().manual_seed(seed))
    # As probabilities that sum to one, so that scores are comparable with those drawn given a code.
    shift = logits.logsumexp(dim=-1, keepdim=True) if latent.kind == "categorical" else 0
    return logits - shift + standard


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_scores_drawn_given_a_code_have_it_as_their_most_probable_one(latent, scale):
    codes = all_codes(latent)
    logits = random_logits(latent, len(codes), scale=scale)
    scores = conditional_scores(latent, logits, codes, 200, torch.Generator().manual_seed(0))
    assert torch.isfinite(scores).all()
    assert torch.equal(latent.most_probable(scores), codes.expand_as(scores))


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_scores_drawn_given_a_code_have_the_law_of_those_that_happen_to_give_it(latent):
    # A second implementation: draw without condition, keep what fits. Kolmogorov-Smirnov, score by score and, since
    # the scores of a latent depend on each other, for the differences of neighbours too.
    logits = random_logits(latent)
    unconditioned = perturbed(latent, logits, 400_000, seed=1)
    drawn = latent.most_probable(unconditioned)
    codes = all_codes(latent)
    p_values = []
    for code in codes:
        kept = unconditioned[(drawn == code).flatten(start_dim=1).all(dim=1)].flatten(start_dim=1)[:5000]
        assert len(kept) > 500
        got = conditional_scores(latent, logits, code.unsqueeze(0), 5000, torch.Generator().manual_seed(2))
        got = got.flatten(start_dim=1)
        for first, second in ((kept, got), (kept.diff(dim=1), got.diff(dim=1))):
            p_values += [ks_2samp(a, b).pvalue for a, b in zip(first.T.numpy(), second.T.numpy(), strict=True)]
    assert min(p_values) > FALSE_ALARM / len(p_values)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_one_draw_of_the_noise_is_straight_through_gumbel_in_law(latent):
    logits, cost = random_logits(latent), QuadraticCost(latent)
    rao, plain = (
        draw(estimator, latent, logits, cost, num_draws=20_000, tau=0.6 * ONE, seed=seed).logits
        for seed, estimator in enumerate((GumbelRao(num_monte_carlo=1), StraightThroughGumbel()))
    )
    p_values = [ks_2samp(a, b).pvalue for a, b in zip(rao.T.numpy(), plain.T.numpy(), strict=True)]
    assert min(p_values) > FALSE_ALARM / len(p_values)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_more_draws_of_the_noise_keep_the_expectation_and_lower_the_variance(latent):
    num_draws = 40_000
    logits, cost = random_logits(latent), QuadraticCost(latent)
    means, variances = [], []
    for seed, num_monte_carlo in enumerate((1, 4, 16)):
        estimator = GumbelRao(num_monte_carlo=num_monte_carlo)
        draws = draw(estimator, latent, logits, cost, num_draws=num_draws, tau=0.3 * ONE, seed=seed).logits
        means.append(draws.mean(dim=0))
        variances.append(draws.var(dim=0))
    assert variances[0].sum() > 1.1 * variances[1].sum() > 1.1 * variances[2].sum()
    allowed = standard_errors(FALSE_ALARM, 2 * len(means[0]))
    for mean, variance in zip(means[1:], variances[1:], strict=True):
        error = ((variances[0] + variance) / num_draws).sqrt()
        assert ((mean - means[0]).abs() <= allowed * error).all()
