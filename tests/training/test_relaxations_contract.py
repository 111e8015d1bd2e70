"""What every relaxation promises as a `Posterior`, whatever its law."""

import pytest
import torch
from relaxation_cases import extreme_noise, latent_of

from training.relaxations import RELAXATIONS

NAMES = list(RELAXATIONS)
TAUS = [1e-30, 0.1, 1.0, 1e30]
TEMPERATURES = [0.0, 1e-3, 1.0, 1e30]


def random_posterior(name, scale=2.0, num_rows=16, num_latents=5, dtype=torch.float32, seed=4):
    relaxation = RELAXATIONS[name]
    latent = latent_of(relaxation, num_latents)
    shape = (num_rows, *relaxation.parameter_shape(latent))
    return relaxation(scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype), latent)


def drawn_noise(law, num_samples=None, seed=5):
    return law.draw_noise(torch.Generator().manual_seed(seed), num_samples)


def test_every_relaxation_is_found_under_its_own_name():
    assert NAMES == [
        "concrete",
        "binary_concrete",
        "logistic_normal",
        "kumaraswamy",
        "hard_concrete",
        "hard_kumaraswamy",
    ]
    assert all(relaxation.name == name for name, relaxation in RELAXATIONS.items())


@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_shapes_of_the_interface(name):
    law, tau = random_posterior(name), torch.tensor(0.5)
    for lead, noise in (((), drawn_noise(law)), ((7,), drawn_noise(law, 7))):
        shape = (*lead, 16, *law.latent.shape)
        scores = law.scores(noise)
        relaxed, logits = law.relaxed(scores, tau), law.relaxed_logits(scores, tau)
        assert noise.shape == scores.shape == relaxed.shape == logits.shape == shape
        assert law.log_prob(logits, tau).shape == (*lead, 16, 5)
    assert law.logits.shape == (16, *law.latent.shape)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tau", TAUS)
def test_rounding_the_relaxed_value_gives_the_code_at_any_relaxation_temperature(name, tau):
    law = random_posterior(name)
    scores = law.scores(drawn_noise(law, 20))
    codes, relaxed = law.latent.most_probable(scores), law.relaxed(scores, torch.tensor(tau))
    if law.latent.kind == "binary":
        # Above 1/2 for a bit of 1 and below for a bit of 0; 1/2 itself only where float32 has nothing nearer.
        assert ((relaxed - 0.5) * (2 * codes - 1) >= 0).all()
    else:
        assert torch.equal((relaxed * codes).sum(dim=-1), relaxed.amax(dim=-1))
    if tau <= 1:
        assert torch.equal(law.latent.most_probable(relaxed - (0.5 if law.latent.kind == "binary" else 0)), codes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [0.1, 2.0, 30.0])
def test_without_noise_the_code_is_the_most_probable_one(name, scale):
    law = random_posterior(name, scale, num_rows=200)
    scores = law.scores(drawn_noise(law), 0.0)
    assert torch.equal(law.latent.most_probable(scores), law.latent.most_probable(law.logits))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_nothing_a_service_can_ask_for_is_infinite(name, scale, temperature):
    law = random_posterior(name, scale)
    noise = extreme_noise(law)[:, None]
    scores = law.scores(noise, temperature)
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    assert torch.isfinite(law.logits).all()
    for tau in map(torch.tensor, TAUS):
        relaxed = law.relaxed(scores, tau)
        assert ((relaxed >= 0) & (relaxed <= 1)).all()
        assert torch.isfinite(law.relaxed_logits(scores, tau)).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("tau", [0.05, 1.0, 20.0])
def test_values_and_gradients_of_training_are_finite_for_any_parameters(name, scale, tau):
    law = random_posterior(name, scale)
    parameters = law.parameters.requires_grad_()
    noise, tau = extreme_noise(law)[:, None], torch.tensor(tau)
    for output in (
        lambda: law.relaxed(law.scores(noise), tau),
        lambda: law.relaxed_logits(law.scores(noise), tau),
        lambda: law.log_prob(law.relaxed_logits(law.scores(noise), tau), tau),
        lambda: law.logits,
        lambda: law.latent.kl(law.logits, torch.zeros(law.latent.shape)),
    ):
        parameters.grad = None
        value = output()
        assert torch.isfinite(value).all()
        value.sum().backward()
        assert torch.isfinite(parameters.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name):
    law = random_posterior(name, 1.0, num_rows=3, dtype=torch.float64)
    noise, tau = drawn_noise(law).double(), torch.tensor(0.6, dtype=torch.float64)
    # Away from where a stretched value is clamped and has a kink.
    noise = noise.clamp(-1, 1)

    def outputs(parameters):
        filled = law.with_parameters(parameters)
        scores = filled.scores(noise)
        return filled.logits, scores, filled.relaxed(0.5 * scores, tau), filled.log_prob(scores, tau)

    assert torch.autograd.gradcheck(outputs, (law.parameters.requires_grad_(),), atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_gradient_at_outputs_of_zero(name):
    # An absolute value or a clamp at the wrong place has none, and a new encoder starts near 0.
    law = random_posterior(name, 0.0)
    parameters = law.parameters.requires_grad_()
    noise = drawn_noise(law).clamp(0.5, 1.0)
    weights = torch.linspace(1, 2, law.latent.shape[-1])
    (weights * law.scores(noise)).sum().backward()
    assert (parameters.grad != 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_temperatures_are_those_of_their_row(name):
    law = random_posterior(name, num_rows=3)
    noise = drawn_noise(law)
    a_row_each = (-1, *(1 for _ in law.latent.shape))
    temperatures, taus = torch.tensor([0.0, 0.7, 2.0]), torch.tensor([0.1, 1.0, 5.0])
    scores = law.scores(noise, temperatures.reshape(a_row_each))
    relaxed = law.relaxed(scores, taus.reshape(a_row_each))
    for row in range(3):
        alone = law.with_parameters(law.parameters[row : row + 1])
        expected = alone.scores(noise[row : row + 1], temperatures[row].item())
        torch.testing.assert_close(scores[row : row + 1], expected)
        torch.testing.assert_close(relaxed[row : row + 1], alone.relaxed(expected, taus[row]))


@pytest.mark.parametrize("name", NAMES)
def test_float64_in_gives_float64_out(name):
    law, tau = random_posterior(name, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    scores = law.scores(drawn_noise(law).double())
    values = law.relaxed_logits(scores, tau)
    for output in (law.logits, scores, values, law.relaxed(scores, tau), law.log_prob(values, tau)):
        assert output.dtype == torch.float64
    low = random_posterior(name, dtype=torch.float32)
    torch.testing.assert_close(low.with_parameters(law.parameters.float()).logits, law.logits.float())


@pytest.mark.parametrize("name", NAMES)
def test_rsample_is_the_relaxed_value_of_the_generators_noise_and_differentiable(name):
    law, tau = random_posterior(name), torch.tensor(0.5)
    parameters = law.parameters.clone().requires_grad_()
    drawn = law.with_parameters(parameters).rsample(tau, torch.Generator().manual_seed(5), num_samples=7)
    assert torch.equal(drawn, law.relaxed(law.scores(drawn_noise(law, 7)), tau))
    (gradient,) = torch.autograd.grad(drawn.square().sum(), parameters)
    assert torch.isfinite(gradient).all()
    assert gradient.any()
