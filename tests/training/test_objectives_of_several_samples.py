"""The importance-weighted and the relaxed bounds, against enumeration and against cases known in closed form."""

import math

import pytest
import torch
from tiny_vae import LATENTS, all_codes, bits, log_likelihoods, log_posterior, standard_errors, vae

from training.errors import ConfigError
from training.estimators import (
    Arm,
    DisArm,
    Exact,
    Pathwise,
    ReinforceLeaveOneOut,
    ReinMax,
    StraightThrough,
    StraightThroughGumbel,
    fitting_estimators,
)
from training.objectives import (
    ObjectiveConfig,
    build_objective,
    importance_weighted_bound,
    inclusive_kl_surrogate,
    relaxed_bound,
)

FALSE_ALARM = 1e-4
TAU = torch.tensor(0.7, dtype=torch.float64)


def exact_iwae_2(model, inputs):
    """-E log (w(z) + w(z'))/2 over independent z and z' from q, every pair visited; one row of inputs."""
    log_q = log_posterior(model, inputs)[0]
    log_joint = log_likelihoods(model, inputs)[0] + model.prior.log_prob(all_codes(model.latent))
    log_weights = log_joint - log_q
    bound = torch.logaddexp(log_weights[:, None], log_weights[None]) - math.log(2)
    return -(log_q.exp()[:, None] * log_q.exp()[None] * bound).sum()


def bound_of(model, inputs, *, estimator, num_samples=2, seed=0, encoder="bound"):
    return importance_weighted_bound(
        model,
        inputs,
        num_samples=num_samples,
        estimator=estimator,
        relaxation_temperature=torch.ones((), dtype=torch.float64),
        generator=torch.Generator().manual_seed(seed),
        encoder=encoder,
    )


def of_every_weight(model, value):
    return torch.cat([part.flatten() for part in torch.autograd.grad(value, list(model.parameters()))])


UNBIASED = [
    pytest.param(latent, estimator, id=f"{estimator.name}-{latent.kind}")
    for latent in LATENTS
    for estimator in (ReinforceLeaveOneOut(), Arm(num_pairs=2), DisArm())
    if latent.kind in estimator.kinds
]


@pytest.mark.parametrize(("latent", "estimator"), UNBIASED)
def test_unbiased_estimators_are_so_for_bounds_of_several_samples_in_value_and_in_the_gradient_of_every_weight(
    latent, estimator
):
    num_groups, draws_per_group = 100, 400
    model, inputs = vae(latent), bits(1)
    exact = exact_iwae_2(model, inputs)
    expected = of_every_weight(model, exact)
    values, gradients = [], []
    for group in range(num_groups):
        objective = bound_of(model, inputs.expand(draws_per_group, -1), estimator=estimator, seed=group)
        values.append(objective.terms["iwae_2"].mean())
        gradients.append(of_every_weight(model, objective.loss))
    for draws, truth in ((torch.stack(values)[:, None], exact.detach()[None]), (torch.stack(gradients), expected)):
        error = draws.std(dim=0) / num_groups**0.5
        # Student's t with 99 degrees of freedom is a little wider than a normal: hence the tenth.
        allowed = 1.1 * standard_errors(FALSE_ALARM, len(truth)) * error
        assert ((draws.mean(dim=0) - truth).abs() <= allowed + 1e-9).all()


@pytest.mark.parametrize("latent", LATENTS, ids=lambda latent: latent.kind)
def test_the_exact_bound_of_two_samples_visits_every_pair_of_codes(latent):
    model, inputs = vae(latent), bits(3)
    objective = bound_of(model, inputs, estimator=Exact())
    expected = torch.stack([exact_iwae_2(model, row[None]) for row in inputs])
    torch.testing.assert_close(objective.terms["iwae_2"], expected.detach())
    gradients = (of_every_weight(model, value) for value in (objective.loss, expected.mean()))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("latent", LATENTS, ids=lambda latent: latent.kind)
def test_every_discrete_estimator_measures_the_same_bound_of_several_samples(latent):
    model, inputs = vae(latent), bits(1).expand(5_000, -1)
    exact = exact_iwae_2(model, inputs[:1]).detach()
    estimators = [estimator for estimator in fitting_estimators(latent) if estimator.is_discrete]
    for estimator in estimators:
        objective = bound_of(model, inputs, estimator=estimator)
        bounds = objective.terms["iwae_2"]
        # Where the bound of a row is exact, rounding is all there is.
        allowed = standard_errors(FALSE_ALARM, len(estimators)) * bounds.std() / len(bounds) ** 0.5 + 1e-9
        assert (bounds.mean() - exact).abs() <= allowed, estimator.name
        assert of_every_weight(model, objective.loss).isfinite().all()


@pytest.mark.parametrize("estimator", [StraightThrough(), StraightThroughGumbel(), ReinMax()], ids=lambda e: e.name)
@pytest.mark.parametrize("latent", LATENTS, ids=lambda latent: latent.kind)
def test_biased_estimators_point_along_the_gradient_of_the_bound_of_several_samples(latent, estimator):
    model, inputs = vae(latent), bits(1)
    encoder = list(model.encoder.parameters())

    def of_the_encoder(value):
        return torch.cat([part.flatten() for part in torch.autograd.grad(value, encoder)])

    exact = of_the_encoder(exact_iwae_2(model, inputs))
    estimate = of_the_encoder(bound_of(model, inputs.expand(50_000, -1), estimator=estimator).loss)
    assert torch.cosine_similarity(exact, estimate, dim=0) > 0.5


@pytest.mark.parametrize("latent", LATENTS, ids=lambda latent: latent.kind)
def test_the_inclusive_kl_of_every_code_of_a_uniform_posterior_has_the_exact_gradient(latent):
    """Every code once is a sample of a uniform posterior without any variance, and the weights are then p(z|x)."""
    model, inputs = vae(latent), bits(3)
    log_likelihood = log_likelihoods(model, inputs).detach()
    logits = torch.zeros(3, *latent.shape, dtype=torch.float64, requires_grad=True)
    log_q = latent.log_prob(logits, all_codes(latent)[:, None])
    surrogate = inclusive_kl_surrogate(log_likelihood.T - log_q, log_q)
    true_posterior = log_likelihood.softmax(dim=1).T
    inclusive_kl = (true_posterior * (true_posterior.log() - log_q)).sum(dim=0)
    gradients = (torch.autograd.grad(value.sum(), logits, retain_graph=True)[0] for value in (surrogate, inclusive_kl))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("latent", LATENTS, ids=lambda latent: latent.kind)
def test_the_decoder_follows_the_same_bound_whatever_the_encoder_follows(latent):
    model, inputs = vae(latent), bits(5)
    objectives = [
        bound_of(model, inputs, estimator=ReinforceLeaveOneOut(), num_samples=8, encoder=encoder)
        for encoder in ("bound", "inclusive_kl")
    ]
    torch.testing.assert_close(*(objective.terms["iwae_8"] for objective in objectives))
    decoder, encoder = list(model.decoder.parameters()), list(model.encoder.parameters())
    torch.testing.assert_close(*(torch.autograd.grad(one.loss, decoder, retain_graph=True) for one in objectives))
    first, second = (torch.autograd.grad(one.loss, encoder) for one in objectives)
    assert not torch.allclose(first[0], second[0])


def configured(estimator, latent, **options):
    return build_objective(ObjectiveConfig(num_importance_samples=8, **options), vae(latent), estimator)


def test_relaxed_codes_are_refused_in_the_discrete_bound_of_several_samples():
    with pytest.raises(ConfigError, match=r'"pathwise" needs kl = "relaxed".*any other estimator'):
        configured(Pathwise(), LATENTS[0])


def test_an_inclusive_kl_is_refused_without_score_functions_and_without_several_samples():
    with pytest.raises(ConfigError, match=r'"inclusive_kl".*got estimator.name = "reinmax"; use "reinforce_leave_one'):
        configured(ReinMax(), LATENTS[0], encoder="inclusive_kl")
    with pytest.raises(ValueError, match=r"expected num_importance_samples of 2 or more.*got 1"):
        ObjectiveConfig(encoder="inclusive_kl")


def test_more_pairs_of_codes_than_can_be_enumerated_are_refused():
    with pytest.raises(ConfigError, match="at most 65,536 can be enumerated"):
        configured(Exact(), LATENTS[0])


def relaxed(model, inputs, *, num_samples=1, prior_tau=TAU):
    return relaxed_bound(
        model,
        inputs,
        relaxation_temperature=TAU,
        prior_relaxation_temperature=prior_tau,
        generator=torch.Generator().manual_seed(4),
        num_samples=num_samples,
    )


@pytest.mark.parametrize("latent", LATENTS, ids=lambda latent: latent.kind)
def test_a_relaxed_posterior_that_is_its_prior_pays_no_rate(latent):
    model, inputs = vae(latent), bits(6)
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight.zero_()
    torch.testing.assert_close(relaxed(model, inputs).terms["relaxed_rate"], torch.zeros(6).double())
    # At other temperatures the two densities differ, and so their ratio at a sample.
    assert relaxed(model, inputs, prior_tau=TAU / 2).terms["relaxed_rate"].abs().min() > 1e-6


@pytest.mark.parametrize("latent", LATENTS, ids=lambda latent: latent.kind)
def test_the_relaxed_bound_is_its_terms_is_tighter_with_more_samples_and_is_never_called_elbo(latent):
    model, inputs = vae(latent), bits(1).expand(4_000, -1)
    one, many = relaxed(model, inputs), relaxed(model, inputs, num_samples=20)
    terms = one.terms
    torch.testing.assert_close(terms["relaxed_elbo_loss"], terms["relaxed_distortion"] + terms["relaxed_rate"])
    torch.testing.assert_close(one.loss, terms["relaxed_elbo_loss"].mean())
    gap = terms["relaxed_elbo_loss"] - many.terms["relaxed_iwae_20"]
    # In expectation it is not below 0; four standard errors below are met once in 30,000 seeds.
    assert gap.mean() > -4 * gap.std() / len(gap) ** 0.5
    assert all(name.startswith("relaxed_") for name in (*terms, *many.terms))
