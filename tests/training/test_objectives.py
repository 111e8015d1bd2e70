import pytest
import torch
from tiny_vae import LATENTS, bits, exact_negative_elbo, log_likelihoods, log_posterior, standard_errors, vae

from training.estimators import ESTIMATORS, ReinforceLeaveOneOut, fitting_estimators
from training.objectives import (
    ObjectiveConfig,
    build_objective,
    estimated_bound,
    importance_weighted_bound,
    posterior_of_some,
)

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


class Shown(torch.nn.Module):
    """An encoder that keeps what it is shown."""

    def __init__(self, encoder):
        super().__init__()
        self.mean = encoder.mean
        self.encoder = encoder
        self.inputs = None

    def forward(self, inputs):
        self.inputs = inputs
        return self.encoder(inputs)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_a_hidden_value_is_the_mean_and_the_others_make_up_for_it(latent):
    model, share, num_draws = vae(latent), 0.3, 50_000
    inputs, mean = bits(1).expand(num_draws, -1), model.encoder.mean
    shown = Shown(model.encoder)
    model.encoder = shown
    posterior_of_some(model, inputs, share, torch.Generator().manual_seed(0))
    is_hidden = shown.inputs == mean
    enlarged = mean + (inputs - mean) / (1 - share)
    torch.testing.assert_close(shown.inputs, torch.where(is_hidden, mean, enlarged))
    allowed = standard_errors(FALSE_ALARM, len(mean)) * (share * (1 - share) / num_draws) ** 0.5
    assert ((is_hidden.double().mean(dim=0) - share).abs() < allowed).all()


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_with_nothing_hidden_no_noise_is_drawn_and_the_posterior_is_the_model_s(latent):
    model, inputs, generator = vae(latent), bits(3), torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert torch.equal(posterior_of_some(model, inputs, 0.0, generator).logits, model.posterior(inputs).logits)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"kl": "relaxed"},
        {"num_importance_samples": 3},
        {"num_importance_samples": 3, "encoder": "inclusive_kl"},
    ],
    ids=str,
)
def test_every_objective_hides_inputs_when_it_is_asked_to(config):
    model, inputs = vae(LATENTS[0]), bits(5)
    name = "pathwise" if "kl" in config else "reinforce_leave_one_out"
    sampling = {"relaxation_temperature": TAU, "beta": 1.0}
    losses = [
        build_objective(ObjectiveConfig(**config, input_dropout=share), model, ESTIMATORS[name]())(
            inputs, **sampling, generator=torch.Generator().manual_seed(0)
        ).loss
        for share in (0.0, 0.5)
    ]
    assert losses[0] != losses[1]


def test_the_bound_of_a_posterior_that_does_not_see_all_is_a_bound():
    # In expectation above -log p(x), whatever the encoder was shown.
    model, num_draws = vae(LATENTS[0]), 50_000
    inputs = bits(1)
    with torch.no_grad():
        nll = -(log_likelihoods(model, inputs).logsumexp(dim=1) - 4 * torch.tensor(2.0).log())
        bound = importance_weighted_bound(
            model,
            inputs.expand(num_draws, -1),
            num_samples=5,
            estimator=ReinforceLeaveOneOut(),
            input_dropout=0.5,
            relaxation_temperature=TAU,
            generator=torch.Generator().manual_seed(0),
        ).terms["iwae_5"]
    assert bound.mean() - nll.item() > 6 * bound.std() / num_draws**0.5


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_of_hidden_inputs_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="input_dropout: expected a share of 0 or more and below 1, got"):
        ObjectiveConfig(input_dropout=share)
