"""The columns that stand side by side, each against an answer that is not sampled: enumeration or quadrature."""

import itertools
import math

import pytest
import torch
from tiny_vae import (
    BITS,
    CATEGORIES,
    LATENTS,
    NUM_VALUES,
    all_codes,
    bits,
    exact_negative_elbo,
    exact_nll,
    log_likelihoods,
    log_posterior,
    standard_errors,
    vae,
)

from training.errors import EvaluationError
from training.evaluation import EvaluationConfig, evaluate
from training.latents import LatentConfig
from training.likelihoods import LIKELIHOODS, LikelihoodConfig
from training.model import DiscreteVAE
from training.networks import MlpConfig
from training.priors import PRIORS, PriorConfig
from training.relaxations import RELAXATIONS

FALSE_ALARM = 1e-4
TAU = 0.6
NUM_ROWS = 4_000


def by_kind(latent):
    return latent.kind


def measure(model, inputs, **options):
    config = EvaluationConfig(**{"num_samples": 4, "importance_samples": (), **options})
    return evaluate(model, inputs, relaxation_temperature=TAU, protocol="coins", split="test", config=config)


def model_of(latent, *, relaxation=None, prior="uniform", likelihood="bernoulli", seed=0):
    """A model of random weights; those of its prior too, which would be uniform otherwise."""
    torch.manual_seed(seed)
    model = DiscreteVAE(
        latent,
        MlpConfig(hidden=(5,), activation="tanh"),
        (NUM_VALUES,),
        torch.full((NUM_VALUES,), 0.4),
        relaxation=relaxation,
        prior=PriorConfig(name=prior, hidden=(16,) if prior == "autoregressive" else None),
        likelihood=LikelihoodConfig(name=likelihood),
    )
    with torch.no_grad():
        for weight in (*model.encoder.parameters(), *model.decoder.parameters()):
            weight.mul_(2)
        for weight in model.prior.parameters():
            weight.add_(0.7 * torch.randn(weight.shape))
    return model.double()


def inputs_for(likelihood, num_rows):
    """Rows that the likelihood gives probability to."""
    rows = bits(num_rows)
    return {
        "bernoulli": rows,
        "grey_cross_entropy": rows * 0.25,
        "gaussian": rows * 0.3,
        "discretised_logistic": rows * 51 / 255,
    }[likelihood]


def enumerated_bounds(model, inputs):
    """-ELBO and NLL of each row, from their definitions, with the prior's own log-probability of every code."""
    log_joint = log_likelihoods(model, inputs) + model.prior.log_prob(all_codes(model.latent))
    logits = model.posterior(inputs).logits
    codes = all_codes(model.latent)
    log_q = torch.stack([model.latent.law(row).log_prob(codes).sum(dim=-1) for row in logits])
    return (log_q.exp() * (log_q - log_joint)).sum(dim=1), -log_joint.logsumexp(dim=1)


FITTING = [
    (latent, name) for latent, name in itertools.product(LATENTS, RELAXATIONS) if latent.kind in RELAXATIONS[name].kinds
]


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize(("latent", "relaxation"), FITTING, ids=lambda each: getattr(each, "kind", each))
def test_sampled_and_summed_bounds_agree_whatever_the_relaxation_and_the_prior(latent, relaxation, prior):
    # Every row is the same input, so that the standard error is that of sampling alone.
    model = model_of(latent, relaxation=relaxation, prior=prior)
    with torch.no_grad():
        elbo, nll = (float(bound) for bound in enumerated_bounds(model, bits(1)))
    evaluation = measure(model, bits(1).expand(NUM_ROWS, -1))
    allowed = standard_errors(FALSE_ALARM, 2)
    for name in ("straight_through_loss", "negative_elbo"):
        assert abs(evaluation[name].value - elbo) < allowed * evaluation[name].standard_error
    assert evaluation["exact_negative_elbo"].value == pytest.approx(elbo, rel=1e-9)
    assert evaluation["exact_nll"].value == pytest.approx(nll, rel=1e-9)
    assert evaluation["inference_gap"].value == pytest.approx(elbo - nll, rel=1e-6)


@pytest.mark.parametrize("relaxation", [name for name in RELAXATIONS if "binary" in RELAXATIONS[name].kinds])
def test_the_relaxed_loss_is_the_integral_over_the_noise_of_a_relaxed_bit(relaxation):
    model = model_of(LatentConfig(kind="binary", num_latents=1), relaxation=relaxation)
    inputs = bits(1)
    # Midpoints of a million equal shares of the noise's law, by its quantile function.
    u = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1_000_000
    posterior = model.posterior(inputs)
    noise = {"logistic": torch.logit, "normal": torch.special.ndtri}[posterior.noise_name("binary")](u)
    with torch.no_grad():
        relaxed = posterior.relaxed(posterior.scores(noise.reshape(-1, 1, 1)), torch.tensor(TAU))
        expected = model.kl(posterior.logits).sum() - model.log_likelihood(inputs, relaxed).mean()
    metric = measure(model, inputs.expand(20_000, -1))["relaxed_loss"]
    assert abs(metric.value - float(expected)) < standard_errors(FALSE_ALARM) * metric.standard_error
    assert relaxation in metric.protocol
    assert "relaxation temperature 0.6" in metric.protocol
    assert "a bound on nothing" in metric.protocol


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_a_relaxed_code_and_its_rounding_share_their_noise(latent):
    # At a vanishing temperature a relaxed code is its own rounding: no row differs, not only the mean.
    model = vae(latent)
    config = EvaluationConfig(num_samples=1, importance_samples=())
    evaluation = evaluate(model, bits(300), relaxation_temperature=1e-12, protocol="coins", split="test", config=config)
    assert abs(evaluation["integrality_gap"].value) < 1e-6
    assert evaluation["integrality_gap"].standard_error < 1e-6
    warm = measure(model, bits(300))
    gap = warm["straight_through_loss"].value - warm["relaxed_loss"].value
    assert warm["integrality_gap"].value == pytest.approx(gap, rel=1e-9)
    assert warm["integrality_gap"].value != 0


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_exact_numbers_are_those_of_every_row_with_their_standard_error(latent):
    model, inputs = vae(latent), bits(40)
    evaluation = measure(model, inputs)
    with torch.no_grad():
        expected = {"exact_nll": exact_nll(model, inputs), "exact_negative_elbo": exact_negative_elbo(model, inputs)}
    for name, rows in expected.items():
        assert evaluation[name].value == pytest.approx(float(rows.mean()), rel=1e-9)
        assert evaluation[name].standard_error == pytest.approx(float(rows.std()) / math.sqrt(40), rel=1e-9)


def test_exact_numbers_are_left_out_where_codes_are_too_many_or_they_are_not_wanted():
    many = model_of(LatentConfig(kind="binary", num_latents=17))
    for evaluation in (measure(many, bits(3)), measure(model_of(BITS), bits(3), exact=False)):
        names = {metric.name for metric in evaluation.metrics}
        assert "negative_elbo" in names
        assert not names & {"exact_nll", "exact_negative_elbo", "inference_gap"}


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("prior", PRIORS)
def test_the_rate_to_any_prior_is_its_kl_by_enumeration_and_says_how_it_was_measured(latent, prior):
    model, inputs = model_of(latent, prior=prior), bits(1)
    with torch.no_grad():
        log_q = log_posterior(model, inputs)
        expected = float((log_q.exp() * (log_q - model.prior.log_prob(all_codes(latent)))).sum())
    rate = measure(model, inputs.expand(NUM_ROWS, -1))["rate"]
    assert {"uniform": "the uniform prior", "factorised": "learned factorised", "autoregressive": "autoregressive"}[
        prior
    ] in rate.protocol
    if prior == "autoregressive":
        assert "a Monte Carlo estimate with 4 discrete samples a row, seed 0" in rate.protocol
        assert abs(rate.value - expected) < standard_errors(FALSE_ALARM) * rate.standard_error
    else:
        assert "in closed form" in rate.protocol
        assert rate.value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("latent", [*LATENTS, LatentConfig(kind="categorical", num_latents=3, num_categories=5)])
def test_a_code_under_the_uniform_prior_costs_the_logarithm_of_the_number_of_codes(latent):
    evaluation = measure(model_of(latent), bits(5))
    bits_per_code = latent.num_latents * math.log2(latent.num_categories)
    assert evaluation["entropy_coded_bytes"].value == pytest.approx(bits_per_code / 8)
    assert evaluation["packed_bytes"].value == math.ceil(
        latent.num_latents * math.ceil(math.log2(latent.num_categories)) / 8
    )


@pytest.mark.parametrize("prior", ["factorised", "autoregressive"])
def test_a_code_under_a_learned_prior_costs_its_own_logarithm(prior):
    model, inputs = model_of(CATEGORIES, prior=prior), bits(9)
    with torch.no_grad():
        lengths = -model.prior.log_prob(CATEGORIES.most_probable(model.encoder(inputs)))
    metric = measure(model, inputs)["entropy_coded_bytes"]
    assert metric.value == pytest.approx(float(lengths.mean()) / math.log(2) / 8)
    assert prior in metric.protocol


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_every_likelihood_is_measured_under_every_prior(latent, likelihood, prior):
    model = model_of(latent, likelihood=likelihood, prior=prior)
    evaluation = measure(model, inputs_for(likelihood, 12), importance_samples=(3,))
    names = {metric.name for metric in evaluation.metrics}
    common = {"relaxed_loss", "straight_through_loss", "distortion", "rate", "mean_squared_error", "active_latents"}
    assert common < names
    bounds = {"negative_elbo", "iwae_3", "exact_negative_elbo", "exact_nll"}
    is_likelihood = LIKELIHOODS[likelihood].is_likelihood
    assert names & bounds == (bounds if is_likelihood else set())
    assert ("cross_entropy_loss" in names) == (not is_likelihood)


def test_a_cross_entropy_on_grey_values_says_everywhere_that_it_bounds_nothing():
    evaluation = measure(model_of(BITS, likelihood="grey_cross_entropy"), inputs_for("grey_cross_entropy", 8))
    for name in ("cross_entropy_loss", "straight_through_loss", "distortion"):
        assert "not a likelihood, and a bound on nothing" in evaluation[name].protocol
    total = evaluation["distortion"].value + evaluation["rate"].value
    assert evaluation["cross_entropy_loss"].value == pytest.approx(total)


def test_eight_bit_images_are_reported_in_bits_per_dimension_too():
    evaluation = measure(
        model_of(BITS, likelihood="discretised_logistic"),
        inputs_for("discretised_logistic", 12),
        importance_samples=(3,),
    )
    for name in ("relaxed_loss", "straight_through_loss", "negative_elbo", "iwae_3", "exact_nll"):
        nats, bits_each = evaluation[name], evaluation[f"{name}_bits_per_dimension"]
        assert bits_each.value == pytest.approx(nats.value / NUM_VALUES / math.log(2))
        assert bits_each.standard_error == pytest.approx(nats.standard_error / NUM_VALUES / math.log(2))
        assert bits_each.unit == "bits per dimension"
    assert not [each for each in measure(vae(BITS), bits(4)).metrics if each.unit == "bits per dimension"]


def test_values_outside_the_likelihood_are_refused_with_their_place():
    inputs = inputs_for("discretised_logistic", 4)
    inputs[2, 5] = 0.5
    with pytest.raises(EvaluationError, match=r"k/255 of 8-bit images, .* got 0.5 at row 2, value 5"):
        measure(model_of(BITS, likelihood="discretised_logistic"), inputs)
