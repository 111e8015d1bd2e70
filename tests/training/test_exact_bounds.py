import pytest
import torch
from tiny_vae import (
    BITS,
    LATENTS,
    NUM_VALUES,
    all_codes,
    bits,
    exact_negative_elbo,
    exact_nll,
    log_likelihoods,
    log_posterior,
    vae,
)

from training.errors import ConfigError
from training.exact_bounds import exact_bounds, log_true_posterior
from training.latents import LatentConfig
from training.likelihoods import LikelihoodConfig
from training.model import DiscreteVAE
from training.networks import MlpConfig
from training.priors import PriorConfig


def by_kind(latent):
    return latent.kind


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("chunk_size", [1, 4, 1000])
def test_both_bounds_are_those_of_the_definition_whatever_the_chunks(latent, chunk_size):
    model, inputs = vae(latent), bits(1500)  # more rows than are taken at once
    bounds = exact_bounds(model, inputs, chunk_size=chunk_size)
    with torch.no_grad():
        torch.testing.assert_close(bounds.negative_log_likelihood, exact_nll(model, inputs))
        torch.testing.assert_close(bounds.negative_elbo, exact_negative_elbo(model, inputs))
        distortion = -(log_posterior(model, inputs).exp() * log_likelihoods(model, inputs)).sum(dim=1)
        torch.testing.assert_close(bounds.distortion, distortion)
        torch.testing.assert_close(bounds.rate, model.kl(model.posterior(inputs).logits).sum(dim=1))


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_bound_misses_the_likelihood_by_the_divergence_from_the_true_posterior(latent):
    # -ELBO + log p(x) = KL(q(z|x) || p(z|x)): Kingma and Welling 2013, equation 1.
    model, inputs = vae(latent), bits(20)
    bounds = exact_bounds(model, inputs)
    with torch.no_grad():
        log_q = log_posterior(model, inputs).T
        log_p = log_true_posterior(model, inputs)
    torch.testing.assert_close(log_p.exp().sum(dim=0), torch.ones(20).double())
    divergence = (log_q.exp() * (log_q - log_p)).sum(dim=0)
    torch.testing.assert_close(bounds.negative_elbo - bounds.negative_log_likelihood, divergence)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_likelihood_of_everything_that_can_be_seen_sums_to_one(latent):
    model = vae(latent)
    everything = all_codes(LatentConfig(num_latents=NUM_VALUES))
    total = (-exact_bounds(model, everything).negative_log_likelihood).exp().sum()
    torch.testing.assert_close(total, torch.ones(()).double())


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_every_code_is_decoded_once_whatever_the_number_of_rows(latent):
    model, decoded = vae(latent), []
    model.decoder.register_forward_hook(lambda module, args, output: decoded.append(len(output)))
    exact_bounds(model, bits(3000), chunk_size=4)
    assert sum(decoded) == len(all_codes(latent))


def other_model(*, likelihood="bernoulli", prior="uniform"):
    torch.manual_seed(3)
    return DiscreteVAE(
        BITS,
        MlpConfig(hidden=(5,)),
        (NUM_VALUES,),
        torch.full((NUM_VALUES,), 0.4),
        likelihood=LikelihoodConfig(name=likelihood),
        prior=PriorConfig(name=prior),
    ).double()


@pytest.mark.parametrize("likelihood", ["gaussian", "discretised_logistic"])
@pytest.mark.parametrize("prior", ["factorised", "autoregressive"])
def test_every_likelihood_and_every_prior_has_its_exact_bounds(likelihood, prior):
    model, inputs = other_model(likelihood=likelihood, prior=prior), bits(4)
    with torch.no_grad():
        for weight in model.prior.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)).double())
        codes = all_codes(BITS)
        log_prior = model.prior.log_prob(codes)
        log_joint = log_likelihoods(model, inputs) + log_prior
        log_q = log_posterior(model, inputs)
        bounds = exact_bounds(model, inputs, chunk_size=5)
        torch.testing.assert_close(bounds.negative_log_likelihood, -log_joint.logsumexp(dim=1))
        torch.testing.assert_close(bounds.rate, (log_q.exp() * (log_q - log_prior)).sum(dim=1))
    assert log_prior.std() > 0.1


def test_float32_is_good_to_a_hundred_thousandth_of_a_nat_here():
    model, inputs = vae(BITS), bits(50)
    wanted = exact_bounds(model, inputs)
    got = exact_bounds(model.float(), inputs.float())
    for name in ("negative_log_likelihood", "negative_elbo"):
        assert getattr(got, name).dtype == torch.float64
        torch.testing.assert_close(getattr(got, name), getattr(wanted, name), rtol=0, atol=1e-5)


def test_too_many_codes_are_refused():
    latent = LatentConfig(num_latents=17)
    with pytest.raises(ConfigError, match="at most 65,536"):
        exact_bounds(vae(latent), bits(1))
