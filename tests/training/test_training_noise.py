import pytest
import torch
from scipy.stats import gumbel_r, kstest, logistic, norm
from tiny_vae import BITS, bits, vae

from training import noise
from training.estimators import ReinforceLeaveOneOut
from training.objectives import estimated_bound

FALSE_ALARM = 1e-4


@pytest.mark.parametrize(("name", "law"), [("gumbel", gumbel_r), ("logistic", logistic), ("normal", norm)])
def test_noise_has_the_law_of_its_name(name, law):
    values = noise.draw(name, (100_000,), torch.Generator().manual_seed(5))
    assert kstest(values.double().numpy(), law.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize(("name", "other"), [("gumbel", logistic), ("logistic", gumbel_r), ("normal", logistic)])
def test_one_noise_cannot_be_mistaken_for_another(name, other):
    values = noise.draw(name, (100_000,), torch.Generator().manual_seed(5))
    assert kstest(values.double().numpy(), other.cdf).pvalue < 1e-100


@pytest.mark.parametrize("name", ["gumbel", "logistic", "normal"])
def test_noise_is_finite_in_both_tails(name):
    # 2^26 draws: of a float32 uniform in multiples of 2^-24 four would be 0, whose logarithm is infinite.
    generator = torch.Generator().manual_seed(0)
    for _ in range(16):
        assert torch.isfinite(noise.draw(name, (1 << 22,), generator)).all()


@pytest.mark.parametrize("name", ["gumbel", "logistic", "normal"])
def test_noise_is_float32_whatever_the_default_is(name):
    torch.set_default_dtype(torch.bfloat16)
    try:
        values = noise.draw(name, (1000,), torch.Generator().manual_seed(0))
    finally:
        torch.set_default_dtype(torch.float32)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, noise.draw(name, (1000,), torch.Generator().manual_seed(0)), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["gumbel", "logistic", "normal"])
def test_noise_comes_from_the_generator_alone(name):
    generator = torch.Generator().manual_seed(9)
    first = noise.draw(name, (3, 4), generator)
    torch.manual_seed(1)
    second = noise.draw(name, (3, 4), generator)
    torch.manual_seed(2)
    again = noise.draw(name, (3, 4), torch.Generator().manual_seed(9))
    assert first.shape == (3, 4)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_noise_drawn_before_makes_an_objective_the_value_and_gradient_that_drawing_at_the_moment_makes():
    model, inputs = vae(BITS), bits(5)
    weights = list(model.parameters())

    def value_and_gradients(source):
        objective = estimated_bound(
            model,
            inputs,
            estimator=ReinforceLeaveOneOut(),
            relaxation_temperature=torch.tensor(0.7, dtype=torch.float64),
            generator=source,
        )
        return objective.loss, torch.autograd.grad(objective.loss, weights)

    recorder = noise.NoiseRecorder(torch.Generator().manual_seed(3))
    loss, gradients = value_and_gradients(recorder)
    assert recorder.draws == [("logistic", (2, 5, 4))]
    generator = torch.Generator().manual_seed(3)
    drawn = noise.DrawnNoise([noise.draw(name, shape, generator) for name, shape in recorder.draws])
    same_loss, same_gradients = value_and_gradients(drawn)
    assert torch.equal(loss, same_loss)
    assert all(map(torch.equal, gradients, same_gradients))


def test_noise_drawn_before_is_handed_out_once_in_order_and_in_its_shape():
    tape = noise.DrawnNoise([torch.zeros(2), torch.ones(3)])
    with pytest.raises(ValueError, match=r"expected the shape \[3\] next, got \[2\]"):
        tape.take("gumbel", (3,))
    assert torch.equal(noise.draw("gumbel", (2,), tape), torch.zeros(2))
    assert torch.equal(noise.draw("gumbel", (3,), tape), torch.ones(3))
    with pytest.raises(ValueError, match="all 2 tensors are used up"):
        tape.take("gumbel", (3,))
