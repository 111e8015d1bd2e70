import itertools
import math

import mpmath
import numpy as np
import onnxruntime
import pytest
import torch
from scipy import integrate
from scipy.special import expit

from training.likelihoods import DiscretisedLogisticLikelihood

STEP = 1 / 255
VALUES = torch.arange(256, dtype=torch.float64) / 255
LOCATIONS = (-40.0, -1.0, 0.0, 0.001, 0.3, 0.5019, 1.0, 1.2, 60.0)
RAW_SCALES = (-60.0, -8.0, -5.54, -3.0, -1.0, 0.0, 2.0, 6.0, 40.0)
"""Logarithms of scales from the minimum to far beyond use."""


@pytest.fixture
def likelihood():
    return DiscretisedLogisticLikelihood((1,), scale="value")


def outputs_of(location, raw, num_rows, dtype=torch.float64):
    return torch.tensor([[location, raw]], dtype=dtype).expand(num_rows, 2)


def every_law():
    return ((location, raw) for location in LOCATIONS for raw in RAW_SCALES)


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 2e-5), (torch.float64, 1e-11)], ids=["float", "double"])
def test_the_probabilities_of_the_256_values_sum_to_one(likelihood, dtype, allowed):
    for location, raw in every_law():
        log_prob = likelihood.log_prob(outputs_of(location, raw, 256, dtype), VALUES.to(dtype).unsqueeze(1))
        assert torch.isfinite(log_prob).all(), (location, raw)
        assert abs(log_prob.double().exp().sum().item() - 1) < allowed, (location, raw)


def test_log_prob_is_equation_2_evaluated_with_1200_digits(likelihood):
    def exact(k, location, scale):
        with mpmath.workdps(1200):
            below = (
                mpmath.mpf(0) if k == 0 else 1 / (1 + mpmath.exp(-((k - mpmath.mpf(1) / 2) / 255 - location) / scale))
            )
            upto = (
                mpmath.mpf(1) if k == 255 else 1 / (1 + mpmath.exp(-((k + mpmath.mpf(1) / 2) / 255 - location) / scale))
            )
            return float(mpmath.log(upto - below))

    for location in (0.0, 0.3, 0.5019, 1.2):
        for raw in (-60.0, -5.54, -3.0, 0.0, 6.0):
            scale = mpmath.exp(mpmath.mpf(likelihood.scale.split(outputs_of(location, raw, 1))[1].item()))
            for k in (0, 1, 76, 77, 128, 200, 254, 255):
                got = likelihood.log_prob(outputs_of(location, raw, 1), VALUES[k].reshape(1, 1)).item()
                assert got == pytest.approx(exact(k, mpmath.mpf(location), scale), rel=1e-9, abs=1e-12), (
                    location,
                    raw,
                    k,
                )


def test_gradients_are_right_and_finite_wherever_the_law_is(likelihood):
    for location, raw in every_law():
        outputs = outputs_of(location, raw, 256, torch.float32).clone().requires_grad_()
        likelihood.log_prob(outputs, VALUES.float().unsqueeze(1)).sum().backward()
        assert torch.isfinite(outputs.grad).all(), (location, raw)
    inputs = VALUES[[0, 1, 100, 254, 255]].unsqueeze(1)
    for raw in (-4.0, -1.0):
        outputs = outputs_of(0.4, raw, 5).clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda given: likelihood.log_prob(given, inputs), outputs)


def test_the_minimum_scale_gives_a_value_at_its_location_almost_all_the_mass(likelihood):
    log_prob = likelihood.log_prob(outputs_of(100 / 255, -60.0, 1), VALUES[100].reshape(1, 1))
    assert log_prob.exp().item() == pytest.approx(0.9866, abs=1e-4)


def test_the_mean_is_that_of_the_256_values_to_within_half_a_step(likelihood):
    for location, raw in every_law():
        outputs = outputs_of(location, raw, 256)
        exact = (VALUES * likelihood.log_prob(outputs, VALUES.unsqueeze(1)).exp()).sum().item()
        got = likelihood.mean(outputs[:1]).item()
        scale = likelihood.scale.split(outputs[:1])[1].exp().item()
        assert abs(got - exact) < (5e-5 if scale >= STEP else STEP / 2), (location, raw)
        assert 0 <= got <= 1


def test_the_mean_is_the_integral_it_says(likelihood):
    for location, raw in itertools.product((-1.0, 0.3, 1.2), (-3.0, -0.3, -0.01, 0.01, 0.3, 2.0, 40.0)):
        outputs = outputs_of(location, raw, 1)
        scale = likelihood.scale.split(outputs)[1].exp().item()
        expected, _ = integrate.quad(lambda t: expit((location - t) / scale), 0, 1)  # noqa: B023 - used at once
        assert likelihood.mean(outputs).item() == pytest.approx(expected, abs=1e-6), (location, raw)


def test_the_mean_is_the_same_in_single_precision_however_wide_the_law(likelihood):
    for location, raw in every_law():
        double = likelihood.mean(outputs_of(location, raw, 1)).item()
        single = likelihood.mean(outputs_of(location, raw, 1, torch.float32)).item()
        assert single == pytest.approx(double, abs=1e-5), (location, raw)


def test_the_values_of_an_image_are_independent():
    likelihood = DiscretisedLogisticLikelihood((2, 2, 3), scale="value").double()
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(4, 24, generator=generator, dtype=torch.float64)
    inputs = torch.randint(0, 256, (4, 12), generator=generator) / 255.0
    by_value = [
        likelihood.log_prob(outputs[:, 2 * value : 2 * value + 2], inputs[:, value : value + 1].double())
        for value in range(12)
    ]
    torch.testing.assert_close(likelihood.log_prob(outputs, inputs.double()), sum(by_value))


@pytest.mark.filterwarnings("ignore::FutureWarning:copyreg")
def test_an_exported_mean_is_the_same_in_onnx_runtime(tmp_path):
    likelihood = DiscretisedLogisticLikelihood((1,), scale="value")
    laws = torch.tensor([[value for law in every_law() for value in law]])

    class Mean(torch.nn.Module):
        def forward(self, outputs):
            return likelihood.mean(outputs)

    torch.onnx.export(Mean().eval(), (laws,), tmp_path / "mean.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "mean.onnx", providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: laws.numpy()})
    np.testing.assert_allclose(got, likelihood.mean(laws).numpy(), atol=1e-5)


def test_a_law_between_two_neighbouring_values_pays_one_bit_for_either():
    likelihood = DiscretisedLogisticLikelihood((16,), scale="shared").double()
    inputs = torch.tensor([120.0, 121.0] * 8, dtype=torch.float64).unsqueeze(0) / 255

    def bits(location):
        nats = -likelihood.log_prob(torch.full((1, 16), location, dtype=torch.float64), inputs).item()
        return likelihood.reported(nats, 16)

    assert bits(120.5 / 255) > 5  # at the initial scale, nearly that of the uniform law
    likelihood.scale.raw.data.fill_(-30.0)
    # Half the mass to each, less what is beyond them: sigmoid(10) - 1/2 at a scale of a tenth of a step.
    assert bits(120.5 / 255) == pytest.approx(-math.log2(1 / (1 + math.exp(-10)) - 0.5), rel=1e-9)
    assert bits(120.4 / 255) > bits(120.5 / 255) > 1
