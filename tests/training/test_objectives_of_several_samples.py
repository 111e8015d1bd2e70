"""The importance-weighted and the relaxed bounds, against enumeration and against cases known in closed form."""

import math

import pytest
import torch
from tiny_vae import LATENTS, all_codes, bits, log_likelihoods, log_posterior, standard_errors, vae

from training.objectives import importance_weighted_bound, relaxed_bound

FALSE_ALARM = 1e-4
TAU = torch.tensor(0.7, dtype=torch.float64)


def exact_iwae_2(model, inputs):
    """-E log (w(z) + w(z'))/2 over independent z and z' from q, every pair visited; one row of inputs."""
    log_q = log_posterior(model, inputs)[0]
    log_joint = log_likelihoods(model, inputs)[0] + model.prior.log_prob(all_codes(model.latent))
    log_weights = log_joint - log_q
    bound = torch.logaddexp(log_weights[:, None], log_weights[None]) - math.log(2)
    return -(log_q.exp()[:, None] * log_q.exp()[None] * bound).sum()


@pytest.mark.parametrize("latent", LATENTS, ids=lambda latent: latent.kind)
def test_vimco_is_unbiased_in_value_and_in_the_gradient_of_every_weight(latent):
    num_groups, draws_per_group = 100, 400
    model, inputs = vae(latent), bits(1)
    weights = list(model.parameters())
    exact = exact_iwae_2(model, inputs)
    expected = torch.cat([gradient.flatten() for gradient in torch.autograd.grad(exact, weights)])
    values, gradients = [], []
    for group in range(num_groups):
        objective = importance_weighted_bound(
            model,
            inputs.expand(draws_per_group, -1),
            num_samples=2,
            gradient="vimco",
            relaxation_temperature=TAU,
            generator=torch.Generator().manual_seed(group),
        )
        values.append(objective.terms["iwae_2"].mean())
        gradients.append(torch.cat([part.flatten() for part in torch.autograd.grad(objective.loss, weights)]))
    for draws, truth in ((torch.stack(values)[:, None], exact.detach()[None]), (torch.stack(gradients), expected)):
        error = draws.std(dim=0) / num_groups**0.5
        # Student's t with 99 degrees of freedom is a little wider than a normal: hence the tenth.
        allowed = 1.1 * standard_errors(FALSE_ALARM, len(truth)) * error
        assert ((draws.mean(dim=0) - truth).abs() <= allowed + 1e-9).all()


@pytest.mark.parametrize("latent", LATENTS, ids=lambda latent: latent.kind)
def test_the_importance_weighted_value_does_not_depend_on_how_its_gradient_is_taken(latent):
    model, inputs = vae(latent), bits(9)
    values = [
        importance_weighted_bound(
            model,
            inputs,
            num_samples=5,
            gradient=gradient,
            relaxation_temperature=TAU,
            generator=torch.Generator().manual_seed(3),
        ).terms["iwae_5"]
        for gradient in ("vimco", "straight_through")
    ]
    torch.testing.assert_close(*values)


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
