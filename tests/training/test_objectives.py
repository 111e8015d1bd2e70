import pytest
import torch
from tiny_vae import LATENTS, bits, exact_negative_elbo, log_likelihoods, log_posterior, standard_errors, vae

from training.estimators import ESTIMATORS, fitting_estimators
from training.objectives import estimated_bound

FALSE_ALARM = 1e-4
TAU = torch.tensor(0.7, dtype=torch.float64)


# A relaxed value is no code: for the others the value of the objective is that of the bound.
DISCRETE = [
    pytest.param(latent, estimator.name, id=f"{estimator.name}-{latent.kind}")
    for latent in LATENTS
    for estimator in fitting_estimators(latent)
    if estimator.is_discrete
]


def by_kind(latent):
    return latent.kind


def objective(model, inputs, *, estimator="straight_through_gumbel", seed=0, tau=TAU):
    return estimated_bound(
        model,
        inputs,
        estimator=ESTIMATORS[estimator](),
        relaxation_temperature=tau,
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize(("latent", "estimator"), DISCRETE)
def test_the_value_is_an_unbiased_estimate_of_the_exact_negative_elbo(latent, estimator):
    num_draws = 50_000
    model, inputs = vae(latent), bits(3)
    with torch.no_grad():
        exact = exact_negative_elbo(model, inputs)
        exact_distortion = -(log_posterior(model, inputs).exp() * log_likelihoods(model, inputs)).sum(dim=1)
        sampled = objective(model, inputs.repeat_interleave(num_draws, dim=0), estimator=estimator)
    for got, expected in ((sampled.terms["negative_elbo"], exact), (sampled.terms["distortion"], exact_distortion)):
        draws = got.reshape(len(inputs), num_draws)
        error = draws.std(dim=1) / num_draws**0.5
        allowed = standard_errors(FALSE_ALARM, 2 * len(inputs)) * error
        assert ((draws.mean(dim=1) - expected).abs() < allowed + 1e-9).all()


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_value_is_its_two_terms_and_does_not_depend_on_the_relaxation_temperature(latent):
    model, inputs = vae(latent), bits(7)
    sharp, blunt = objective(model, inputs, tau=TAU / 50), objective(model, inputs, tau=TAU * 50)
    terms = sharp.terms
    torch.testing.assert_close(terms["negative_elbo"], terms["distortion"] + terms["rate"])
    assert torch.equal(terms["negative_elbo"], blunt.terms["negative_elbo"])
    torch.testing.assert_close(sharp.loss, terms["negative_elbo"].mean())


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_only_the_loss_carries_a_gradient(latent):
    result = objective(vae(latent), bits(2))
    assert result.loss.requires_grad
    assert not any(term.requires_grad for term in result.terms.values())


@pytest.mark.parametrize(("latent", "estimator"), DISCRETE)
def test_the_gradient_of_the_decoder_is_unbiased(latent, estimator):
    # Straight-through biases the gradient of the encoder alone: the decoder meets exact samples.
    num_groups, draws_per_group = 100, 300
    model, inputs = vae(latent), bits(1)
    weights = list(model.decoder.parameters())
    exact = torch.autograd.grad(exact_negative_elbo(model, inputs).sum(), weights)
    means = []
    for group in range(num_groups):
        loss = objective(model, inputs.expand(draws_per_group, -1), estimator=estimator, seed=group).loss
        means.append(torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, weights)]))
    draws = torch.stack(means)
    expected = torch.cat([gradient.flatten() for gradient in exact])
    error = draws.std(dim=0) / num_groups**0.5
    # Student's t with 99 degrees of freedom is a little wider than a normal: hence the tenth.
    allowed = 1.1 * standard_errors(FALSE_ALARM, len(expected)) * error
    assert ((draws.mean(dim=0) - expected).abs() <= allowed + 1e-9).all()


@pytest.mark.parametrize(("latent", "estimator"), DISCRETE)
def test_the_gradient_of_the_rate_is_exact(latent, estimator):
    # With a decoder that hears nothing of the code, -ELBO depends on the encoder through the KL alone.
    model, inputs = vae(latent), bits(4)
    with torch.no_grad():
        for weight in model.decoder.body.parameters():
            weight.zero_()
    weights = list(model.encoder.parameters())
    exact = torch.autograd.grad(exact_negative_elbo(model, inputs).mean(), weights)
    got = torch.autograd.grad(objective(model, inputs, estimator=estimator).loss, weights)
    for first, second in zip(got, exact, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_following_the_gradient_lowers_the_exact_negative_elbo(latent):
    model, inputs = vae(latent), bits(64)
    with torch.no_grad():
        before = exact_negative_elbo(model, inputs).mean()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(150):
        optimizer.zero_grad()
        objective(model, inputs, seed=step).loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert exact_negative_elbo(model, inputs).mean() < before - 0.5
