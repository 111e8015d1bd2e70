import math

import pytest
import torch

from training.latents import LatentConfig
from training.networks import ConvConfig, MlpConfig, build_networks

BITS = LatentConfig(kind="binary", num_latents=6)
CATEGORIES = LatentConfig(kind="categorical", num_latents=3, num_categories=5)
NETWORKS = [MlpConfig(hidden=()), MlpConfig(hidden=(12, 7), activation="gelu"), ConvConfig(channels=(3, 4), hidden=8)]
SHAPES = [(8, 8), (7, 9), (5, 12), (28, 28), (9, 7, 3), (1, 2, 1)]


def by_name(value):
    if isinstance(value, LatentConfig):
        return value.kind
    if isinstance(value, MlpConfig | ConvConfig):
        return value.kind if isinstance(value, ConvConfig) else f"mlp-{len(value.hidden)}-hidden"
    return "x".join(map(str, value))


def build(network, latent, shape, seed=0):
    torch.manual_seed(seed)
    mean = torch.linspace(0.05, 0.95, math.prod(shape))
    return *build_networks(network, latent, shape, mean, torch.logit(mean)), mean


@pytest.mark.parametrize("shape", SHAPES, ids=by_name)
@pytest.mark.parametrize("latent", [BITS, CATEGORIES], ids=by_name)
@pytest.mark.parametrize("network", NETWORKS, ids=by_name)
def test_networks_fit_images_of_any_size_and_colour(network, latent, shape):
    encoder, decoder, mean = build(network, latent, shape)
    logits = encoder(torch.rand(4, len(mean)))
    assert logits.shape == (4, *latent.shape)
    outputs = decoder(latent.most_probable(logits))
    assert outputs.shape == (4, len(mean))
    (logits.sum() + outputs.sum()).backward()
    for weight in (*encoder.parameters(), *decoder.parameters()):
        assert weight.grad is not None
        assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("network", NETWORKS[:2], ids=by_name)
def test_fully_connected_networks_take_vectors(network):
    encoder, decoder, _ = build(network, BITS, (13,))
    assert decoder(encoder(torch.rand(2, 13))).shape == (2, 13)


@pytest.mark.parametrize("latent", [BITS, CATEGORIES], ids=by_name)
@pytest.mark.parametrize("network", NETWORKS, ids=by_name)
def test_a_decoder_whose_codes_contribute_nothing_gives_the_mean_of_the_data(network, latent):
    _, decoder, mean = build(network, latent, (7, 9))
    with torch.no_grad():
        for weight in decoder.body.parameters():
            weight.zero_()
    codes = latent.most_probable(torch.randn(5, *latent.shape))
    torch.testing.assert_close(torch.sigmoid(decoder(codes)), mean.expand(5, -1))


@pytest.mark.parametrize("network", NETWORKS, ids=by_name)
def test_encoders_see_the_distance_from_the_mean(network):
    encoder, _, mean = build(network, BITS, (7, 9))
    shifted, _, _ = build(network, BITS, (7, 9))
    with torch.no_grad():
        shifted.mean += 0.25
    inputs = torch.rand(3, len(mean))
    torch.testing.assert_close(encoder(inputs), shifted(inputs + 0.25))
    assert not torch.allclose(encoder(inputs), shifted(inputs))


def test_decoders_see_a_bit_as_minus_one_or_one():
    _, decoder, _ = build(MlpConfig(hidden=()), BITS, (10,))
    ones, zeros = decoder(torch.ones(1, 6)), decoder(torch.zeros(1, 6))
    torch.testing.assert_close(ones - decoder.bias, decoder.bias - zeros)
    assert not torch.allclose(ones, zeros)
    torch.testing.assert_close(decoder(torch.full((1, 6), 0.5))[0], decoder.bias)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4, 3)], ids=by_name)
def test_a_row_holds_an_image_row_by_row_and_the_channels_of_a_pixel_together(shape):
    height, width, channels = (*shape, 1)[:3]
    encoder, decoder, mean = build(ConvConfig(channels=(2,), hidden=4), BITS, shape)
    seen = []
    encoder.body.convolutions[0].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    inputs = torch.rand(2, len(mean))
    encoder(inputs)
    images = (inputs - mean).reshape(2, height, width, channels)
    torch.testing.assert_close(seen[0], torch.stack([images[..., c] for c in range(channels)], dim=1))

    produced = []
    decoder.body.convolutions.register_forward_hook(lambda _, __, output: produced.append(output))
    rows = (decoder(torch.zeros(2, 6)) - decoder.bias).reshape(2, height, width, channels)
    for channel in range(channels):
        torch.testing.assert_close(rows[..., channel], produced[0][:, channel])


@pytest.mark.parametrize("network", NETWORKS, ids=by_name)
def test_a_row_does_not_depend_on_the_rows_beside_it(network):
    encoder, decoder, mean = build(network, CATEGORIES, (7, 9))
    inputs = torch.rand(6, len(mean))
    together = encoder(inputs)
    alone = torch.cat([encoder(row) for row in inputs.split(1)])
    torch.testing.assert_close(together, alone)
    codes = CATEGORIES.most_probable(together)
    torch.testing.assert_close(decoder(codes), torch.cat([decoder(code) for code in codes.split(1)]))


def test_the_same_global_seed_gives_the_same_weights():
    first, second, other = (build(NETWORKS[1], BITS, (5,), seed=seed)[0] for seed in (3, 3, 4))
    inputs = torch.rand(2, 5)
    assert torch.equal(first(inputs), second(inputs))
    assert not torch.equal(first(inputs), other(inputs))


@pytest.mark.parametrize("shape", [(64,), (2, 8, 8, 3)], ids=by_name)
def test_convolutions_refuse_what_is_no_image(shape):
    with pytest.raises(ValueError, match=r'network.kind: "conv" needs images.*the data has shape .*: use "mlp"'):
        build(ConvConfig(), BITS, shape)


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (MlpConfig, {"hidden": (12, 0)}, "hidden: expected widths of at least 1, got"),
        (ConvConfig, {"channels": ()}, "channels: expected one or more counts"),
        (ConvConfig, {"channels": (8, 0)}, "channels: expected one or more counts"),
        (ConvConfig, {"hidden": 0}, "hidden: expected at least 1, got 0"),
    ],
)
def test_widths_below_one_are_refused(config, options, message):
    with pytest.raises(ValueError, match=message):
        config(**options)
