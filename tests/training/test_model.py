import itertools
import math

import pytest
import torch
from tiny_vae import LATENTS, NUM_VALUES, all_codes, bits, exact_negative_elbo, exact_nll, log_posterior, vae


def by_kind(latent):
    return latent.kind


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_every_code_is_equally_probable_before_any_input_is_seen(latent):
    log_probabilities = vae(latent).prior.log_prob(all_codes(latent))
    expected = -latent.num_latents * math.log(latent.num_categories)
    torch.testing.assert_close(log_probabilities, torch.full_like(log_probabilities, expected))


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_model_gives_all_inputs_together_probability_one(latent):
    model = vae(latent)
    inputs = torch.tensor(list(itertools.product((0.0, 1.0), repeat=NUM_VALUES)), dtype=torch.float64)
    total = (-exact_nll(model, inputs)).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0, dtype=torch.float64))


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_posterior_is_the_product_over_latents_of_the_encoders_laws(latent):
    model, inputs = vae(latent), bits(5)
    rows = [model.posterior(row).law().log_prob(all_codes(latent)).sum(dim=-1) for row in inputs.split(1)]
    torch.testing.assert_close(torch.stack(rows), log_posterior(model, inputs))


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_kl_is_that_of_the_posterior_to_the_prior_by_enumeration(latent):
    model, inputs = vae(latent), bits(5)
    log_q = log_posterior(model, inputs)
    log_p = model.prior.log_prob(all_codes(latent))
    expected = (log_q.exp() * (log_q - log_p)).sum(dim=1)
    torch.testing.assert_close(model.kl(model.encoder(inputs)).sum(dim=-1), expected)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_negative_elbo_exceeds_the_nll_by_the_kl_to_the_true_posterior(latent):
    # -ELBO = -log p(x) + KL(q(z|x) || p(z|x)): holds for the enumeration that other tests compare with.
    model, inputs = vae(latent), bits(5)
    log_q, nll = log_posterior(model, inputs), exact_nll(model, inputs)
    codes = all_codes(latent)
    log_joint = torch.stack([model.log_likelihood(row.expand(len(codes), -1), codes) for row in inputs])
    log_true = log_joint + model.prior.log_prob(codes) + nll.unsqueeze(1)
    gap = (log_q.exp() * (log_q - log_true)).sum(dim=1)
    assert (gap > 0.01).all()
    torch.testing.assert_close(exact_negative_elbo(model, inputs), nll + gap)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_reconstructions_are_the_mean_of_the_likelihood(latent):
    model, codes = vae(latent), all_codes(latent)
    means = model.reconstruction(codes)
    for value in range(NUM_VALUES):
        # E[x] of one value is p(x = 1): marginalise the others, one at a time.
        one, zero = (means.round().index_fill(1, torch.tensor(value), float(bit)) for bit in (1, 0))
        log_odds = model.log_likelihood(one, codes) - model.log_likelihood(zero, codes)
        torch.testing.assert_close(torch.sigmoid(log_odds), means[:, value])


def test_a_saved_model_carries_everything_its_numbers_depend_on():
    model, other, inputs = vae(LATENTS[0]), vae(LATENTS[0], seed=5), bits(3)
    assert not torch.equal(model.encoder(inputs), other.encoder(inputs))
    other.encoder.mean += 0.1
    other.load_state_dict(model.state_dict())
    assert torch.equal(exact_negative_elbo(model, inputs), exact_negative_elbo(other, inputs))
