"""What all likelihoods share: the layout of the decoder's outputs, where it starts, what it refuses, its section."""

import math

import pytest
import torch
from pydantic import TypeAdapter

from training.latents import LatentConfig
from training.likelihoods import LIKELIHOODS, LikelihoodConfig, bits_per_dimension, build_likelihood
from training.networks import ConvConfig, MlpConfig, build_networks

COLOUR = (5, 4, 3)
CONFIGS = [
    LikelihoodConfig(),
    LikelihoodConfig(name="grey_cross_entropy"),
    *(
        LikelihoodConfig(name=name, scale=scale)
        for name in ("gaussian", "discretised_logistic")
        for scale in ("shared", "channel", "value")
    ),
]


def words(config):
    return " ".join(filter(None, (config.name, config.scale)))


@pytest.mark.parametrize("network", [MlpConfig(hidden=(4,)), ConvConfig(channels=(3,), hidden=4)], ids=["mlp", "conv"])
@pytest.mark.parametrize("config", CONFIGS, ids=words)
def test_a_decoder_that_ignores_the_code_starts_at_the_mean_of_the_data(config, network):
    torch.manual_seed(0)
    mean = torch.rand(60).clamp(0.002, 0.998)
    likelihood = build_likelihood(config, COLOUR)
    latent = LatentConfig(num_latents=3)
    bias = likelihood.initial_bias(mean)
    _, decoder = build_networks(network, latent, COLOUR, mean, bias, parameter_shape=latent.shape)
    with torch.no_grad():
        for weight in decoder.body.parameters():
            weight.zero_()
        outputs = decoder(torch.randint(0, 2, (2, 3)).float())
    assert outputs.shape == (2, 60 * likelihood.num_outputs_per_value)
    torch.testing.assert_close(likelihood.mean(outputs), mean.expand(2, -1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "discretised_logistic"])
def test_a_convolution_gives_the_two_outputs_of_a_value_side_by_side(name):
    likelihood = build_likelihood(LikelihoodConfig(name=name, scale="value"), COLOUR)
    torch.manual_seed(1)
    network, latent = ConvConfig(channels=(3,), hidden=4), LatentConfig(num_latents=3)
    _, decoder = build_networks(
        network, latent, COLOUR, torch.zeros(60), torch.zeros(120), parameter_shape=latent.shape
    )
    with torch.no_grad():
        codes = torch.randint(0, 2, (2, 3)).float()
        seen = {}
        decoder.body.convolutions.register_forward_hook(lambda _, __, images: seen.update(images=images))
        locations, log_scales = likelihood.scale.split(decoder(codes))
    # [B, 2 C, H, W]: of the channels of the convolution, the even ones are locations, the odd ones scales.
    channels_last = seen["images"].permute(0, 2, 3, 1)
    torch.testing.assert_close(locations, channels_last[..., 0::2].flatten(start_dim=1), rtol=0, atol=0)
    raw = channels_last[..., 1::2].flatten(start_dim=1)
    torch.testing.assert_close(log_scales.exp(), math.exp(likelihood.scale.log_minimum) + raw.exp())


@pytest.mark.parametrize("config", CONFIGS, ids=words)
def test_the_likelihood_moves_trains_and_is_saved_as_a_part_of_the_model(config):
    likelihood = build_likelihood(config, COLOUR)
    assert likelihood.name == config.name
    learned = {"shared": 1, "channel": 3}.get(config.scale, 0)
    assert sum(parameter.numel() for parameter in likelihood.parameters()) == learned
    inputs = torch.randint(0, 256, (2, 60)) / 255
    if config.name == "bernoulli":
        inputs = inputs.round()
    outputs = likelihood.initial_bias(torch.full((60,), 0.3)).expand(2, -1).requires_grad_()
    single = likelihood.log_prob(outputs, inputs)
    double = likelihood.double()
    # k/255 in float32 is 3e-8 off, which the logarithm of a scale of 0.1 and more hardly sees.
    torch.testing.assert_close(
        double.log_prob(outputs.double(), inputs.double()), single.double(), rtol=1e-5, atol=1e-4
    )
    (-double.log_prob(outputs.double(), inputs.double()).sum() + 0 * outputs.sum()).backward()
    assert all((parameter.grad != 0).all() for parameter in double.parameters())
    with torch.no_grad():
        for parameter in double.parameters():
            parameter.sub_(1)
    copy = build_likelihood(config, COLOUR).double()
    copy.load_state_dict(double.state_dict())
    assert torch.equal(
        copy.log_prob(outputs.double(), inputs.double()), double.log_prob(outputs.double(), inputs.double())
    )


@pytest.mark.parametrize("name", ["gaussian", "discretised_logistic"])
def test_the_scale_of_a_channel_acts_on_the_values_of_that_channel_alone(name):
    likelihood = build_likelihood(LikelihoodConfig(name=name, scale="channel"), COLOUR)
    torch.manual_seed(2)
    outputs, inputs = torch.rand(1, 60), torch.randint(0, 256, (1, 60)) / 255
    with torch.no_grad():
        likelihood.scale.raw.copy_(torch.tensor([-3.0, -2.0, -1.0]))
        total = likelihood.log_prob(outputs, inputs)
        by_channel = torch.zeros(1)
        for channel, raw in enumerate((-3.0, -2.0, -1.0)):
            grey = build_likelihood(LikelihoodConfig(name=name, scale="shared"), COLOUR[:2])
            grey.scale.raw.fill_(raw)
            by_channel += grey.log_prob(outputs[:, channel::3], inputs[:, channel::3])
    torch.testing.assert_close(total, by_channel, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["gaussian", "discretised_logistic"])
@pytest.mark.parametrize("scale", ["shared", "value"])
def test_the_scale_approaches_its_minimum_when_every_value_is_reproduced_and_the_gradient_stays_finite(name, scale):
    likelihood = build_likelihood(LikelihoodConfig(name=name, scale=scale, minimum_scale=0.01), (7,))
    raw = torch.full((7,), -200.0)
    inputs = torch.arange(7).unsqueeze(0) * 40 / 255
    if scale == "value":
        outputs = torch.stack([inputs[0], raw], dim=-1).flatten().unsqueeze(0).requires_grad_()
    else:
        outputs = inputs.clone().requires_grad_()
        likelihood.scale.raw.data.fill_(-200.0)
    _, log_scales = likelihood.scale.split(outputs)
    torch.testing.assert_close(log_scales.exp(), torch.full((1, 7), 0.01))
    log_prob = likelihood.log_prob(outputs, inputs)
    log_prob.sum().backward()
    assert torch.isfinite(log_prob).all()
    assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize("name", ["gaussian", "discretised_logistic"])
def test_near_its_minimum_the_scale_still_has_a_gradient(name):
    likelihood = build_likelihood(LikelihoodConfig(name=name, scale="shared", minimum_scale=0.01), (1,))
    likelihood.scale.raw.data.fill_(math.log(0.01) - 5)
    # A value far off wants a wider law.
    likelihood.log_prob(torch.tensor([[0.2]]), torch.tensor([[153 / 255]])).sum().backward()
    assert likelihood.scale.raw.grad.item() > 0


def test_only_the_cross_entropy_is_no_likelihood_and_its_label_says_so():
    assert {name for name, law in LIKELIHOODS.items() if not law.is_likelihood} == {"grey_cross_entropy"}
    assert {name for name, law in LIKELIHOODS.items() if "no likelihood" in law.label} == {"grey_cross_entropy"}
    assert all(law.name == name for name, law in LIKELIHOODS.items())


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("bernoulli", [[0, 1], [1, 0.5]], "values of 0 and 1.*got 0.5 at row 1, value 1"),
        ("bernoulli", [[0, math.nan]], "values of 0 and 1.*got nan at row 0, value 1"),
        ("grey_cross_entropy", [[0.5, 1.01]], r"values within \[0, 1\], got 1.01 at row 0, value 1"),
        ("grey_cross_entropy", [[math.nan, 1]], "got nan at row 0, value 0"),
        ("gaussian", [[0.5, math.inf]], "finite values, got inf at row 0, value 1"),
        ("discretised_logistic", [[0.5, 0.0]], "k/255 of 8-bit images.*got 0.5 at row 0, value 0"),
        ("discretised_logistic", [[0, 256 / 255]], "k/255 of 8-bit images.*got 1.00392 at row 0, value 1"),
        ("discretised_logistic", [[0, -1 / 255]], "k/255 of 8-bit images.*got -0.00392157 at row 0, value 1"),
        ("discretised_logistic", [[0, math.nan]], "k/255 of 8-bit images.*got nan at row 0, value 1"),
    ],
)
def test_inputs_without_probability_are_refused_by_name(name, inputs, message):
    likelihood = build_likelihood(LikelihoodConfig(name=name), (2,))
    with pytest.raises(ValueError, match=f"inputs: expected .*{message}"):
        likelihood.check_inputs(torch.tensor(inputs).float())


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("bernoulli", [0.0, 1.0]),
        ("grey_cross_entropy", [0.0, 0.123, 1.0]),
        ("gaussian", [-3.0, 0.123, 1e6]),
        ("discretised_logistic", [k / 255 for k in range(256)]),
    ],
)
def test_inputs_of_the_law_pass(name, inputs):
    build_likelihood(LikelihoodConfig(name=name), (len(inputs),)).check_inputs(torch.tensor([inputs]))


def test_bits_per_dimension_of_the_uniform_law_over_8_bits_is_8():
    assert bits_per_dimension(784 * math.log(256), 784) == pytest.approx(8, rel=1e-12)
    assert LIKELIHOODS["discretised_logistic"]((28, 28)).reported(784 * math.log(256), 784) == pytest.approx(8)
    assert LIKELIHOODS["bernoulli"]().reported(97.5, 784) == 97.5


@pytest.mark.parametrize(
    ("table", "resolved"),
    [
        ({}, ("bernoulli", None, None)),
        ({"name": "gaussian"}, ("gaussian", "shared", 1 / 255)),
        ({"name": "discretised_logistic"}, ("discretised_logistic", "value", 1 / 2550)),
        ({"name": "gaussian", "scale": "channel", "minimum_scale": 0.1}, ("gaussian", "channel", 0.1)),
    ],
    ids=str,
)
def test_the_section_resolves_to_a_whole_law(table, resolved):
    config = TypeAdapter(LikelihoodConfig).validate_python(table)
    assert (config.name, config.scale, config.minimum_scale) == pytest.approx(resolved)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "poisson"}, "bernoulli.*grey_cross_entropy.*gaussian.*discretised_logistic"),
        ({"scale": "value"}, "scale: expected nothing, since 'bernoulli' has no scale, got 'value'; .*'gaussian'"),
        ({"name": "grey_cross_entropy", "minimum_scale": 0.1}, "minimum_scale: expected nothing"),
        ({"name": "gaussian", "minimum_scale": 0.0}, "minimum_scale: expected more than 0 and at most 0.1, got 0"),
        ({"name": "gaussian", "minimum_scale": 0.11}, "minimum_scale: expected more than 0 and at most 0.1, got 0.11"),
        ({"name": "gaussian", "minimum_scale": math.nan}, "minimum_scale: expected more than 0"),
        ({"name": "gaussian", "scale": "pixel"}, "shared.*channel.*value"),
    ],
    ids=str,
)
def test_sections_that_name_no_law_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        TypeAdapter(LikelihoodConfig).validate_python(table)
