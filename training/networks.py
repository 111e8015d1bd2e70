"""Encoders and decoders: rows of values to logits of q(z|x), and codes to the parameters of p(x|z).

Encoders centre their input by the data's mean; decoders see a bit as -1 or 1 and a category as one-hot (Maddison,
Mnih and Teh 2016, appendix D). Both work for any input shape: images are rows in the order height, width, channel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.latents import LatentConfig

Activation = Literal["relu", "tanh", "gelu"]
_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


@dataclass(frozen=True, kw_only=True)
class MlpConfig:
    """Fully connected layers. `hidden` lists the encoder's widths; the decoder has them in reverse.

    An empty `hidden` makes both linear.
    """

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = (512, 256)
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden: expected widths of at least 1, got {list(self.hidden)}")


@dataclass(frozen=True, kw_only=True)
class ConvConfig:
    """Convolutions of stride 2, one a channel count, then one hidden layer; the decoder mirrors them. Images only."""

    kind: Literal["conv"] = "conv"
    channels: tuple[int, ...] = (32, 64)
    hidden: int = 256
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        if not self.channels or any(width < 1 for width in self.channels):
            raise ValueError(f"channels: expected one or more counts of at least 1, got {list(self.channels)}")
        if self.hidden < 1:
            raise ValueError(f"hidden: expected at least 1, got {self.hidden}")


NetworkConfig = MlpConfig | ConvConfig


class Encoder(nn.Module):
    """Rows [B, D] to the parameters of q(z|x), for most relaxations its logits [B, *latent].

    `layer_dtype` is that of its layers' products; what comes out has the dtype of the weights all the same, so that
    nothing after it, noise and losses least of all, is computed in less.
    """

    layer_dtype: torch.dtype | None = None

    def __init__(self, body: nn.Module, mean: Float[Tensor, " D"], parameter_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.body = body
        self.parameter_shape = parameter_shape
        self.register_buffer("mean", mean)

    def forward(self, inputs: Float[Tensor, "B D"]) -> Float[Tensor, "B *parameters"]:
        return _in_dtype(self.layer_dtype, self.body, inputs - self.mean).unflatten(-1, self.parameter_shape)


class Decoder(nn.Module):
    """Codes or relaxed codes [B, *latent] to the likelihood's parameters [B, P], P of them a row.

    `layer_dtype` as in `Encoder`.
    """

    layer_dtype: torch.dtype | None = None

    def __init__(self, body: nn.Module, initial_bias: Float[Tensor, " P"], latent: LatentConfig) -> None:
        super().__init__()
        self.body = body
        self.binary = latent.kind == "binary"
        self.bias = nn.Parameter(initial_bias.clone())

    def forward(self, codes: Float[Tensor, "B *latent"]) -> Float[Tensor, "B P"]:
        flat = 2 * codes - 1 if self.binary else codes.flatten(start_dim=1)
        return _in_dtype(self.layer_dtype, self.body, flat) + self.bias


def _in_dtype(dtype: torch.dtype | None, body: nn.Module, inputs: Tensor) -> Tensor:
    """`body(inputs)`, in the dtype of `inputs`; its layers are computed in `dtype` where one is given."""
    if dtype is None:
        return body(inputs)
    with torch.autocast(inputs.device.type, dtype=dtype):
        return body(inputs).to(inputs.dtype)


def build_networks(
    config: NetworkConfig,
    latent: LatentConfig,
    input_shape: tuple[int, ...],
    mean: Float[Tensor, " D"],
    initial_bias: Float[Tensor, " P"],
    *,
    parameter_shape: tuple[int, ...] | None = None,
) -> tuple[Encoder, Decoder]:
    """An encoder and a decoder with PyTorch's default initialisation, drawn from the global generator.

    `parameter_shape` is that of one row of the encoder's outputs; None is that of logits.

    Raises ValueError when convolutions are asked for inputs that are not images.
    """
    parameter_shape = latent.shape if parameter_shape is None else parameter_shape
    num_parameters, num_code_values = math.prod(parameter_shape), math.prod(latent.shape)
    outputs_per_value, rest = divmod(len(initial_bias), len(mean))
    if rest:
        raise ValueError("a likelihood needs the same number of parameters for every value. This is a bug.")
    if isinstance(config, MlpConfig):
        activation = _ACTIVATIONS[config.activation]
        return (
            Encoder(_mlp((len(mean), *config.hidden, num_parameters), activation), mean, parameter_shape),
            Decoder(
                _mlp((num_code_values, *reversed(config.hidden), len(initial_bias)), activation, last_bias=False),
                initial_bias,
                latent,
            ),
        )
    if len(input_shape) not in (2, 3):
        raise ValueError(
            f'network.kind: "conv" needs images, of shape [height, width] or [height, width, channel]; '
            f'the data has shape {list(input_shape)}: use "mlp"'
        )
    height, width, channels = (*input_shape, 1)[:3]
    return (
        Encoder(_ConvBody(config, height, width, channels, num_parameters), mean, parameter_shape),
        Decoder(
            _DeconvBody(config, height, width, channels * outputs_per_value, num_code_values), initial_bias, latent
        ),
    )


def _mlp(widths: Sequence[int], activation: type[nn.Module], *, last_bias: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number, (fan_in, fan_out) in enumerate(pairwise(widths), start=2):
        layers += [nn.Linear(fan_in, fan_out, bias=last_bias or number < len(widths)), activation()]
    return nn.Sequential(*layers[:-1])


def _sizes(size: int, num_layers: int) -> list[int]:
    """Heights (or widths) before each convolution of stride 2 and after the last."""
    sizes = [size]
    for _ in range(num_layers):
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


class _ConvBody(nn.Module):
    def __init__(self, config: ConvConfig, height: int, width: int, channels: int, num_features: int) -> None:
        super().__init__()
        activation = _ACTIVATIONS[config.activation]
        self.image_shape = (height, width, channels)
        layers: list[nn.Module] = []
        for before, after in pairwise((channels, *config.channels)):
            layers += [nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1), activation()]
        self.convolutions = nn.Sequential(*layers)
        num_layers = len(config.channels)
        flat = config.channels[-1] * _sizes(height, num_layers)[-1] * _sizes(width, num_layers)[-1]
        self.dense = _mlp((flat, config.hidden, num_features), activation)

    def forward(self, inputs: Float[Tensor, "B D"]) -> Float[Tensor, "B L"]:
        images = inputs.unflatten(-1, self.image_shape).permute(0, 3, 1, 2)
        return self.dense(self.convolutions(images).flatten(start_dim=1))


class _DeconvBody(nn.Module):
    def __init__(self, config: ConvConfig, height: int, width: int, channels: int, num_features: int) -> None:
        super().__init__()
        activation = _ACTIVATIONS[config.activation]
        num_layers = len(config.channels)
        heights, widths = _sizes(height, num_layers)[::-1], _sizes(width, num_layers)[::-1]
        self.smallest = (config.channels[-1], heights[0], widths[0])
        self.dense = nn.Sequential(
            _mlp((num_features, config.hidden, math.prod(self.smallest)), activation),
            activation(),
        )
        layers: list[nn.Module] = []
        for layer, (before, after) in enumerate(pairwise((*reversed(config.channels), channels))):
            # A transposed convolution of stride 2 cannot tell whether the size it undoes was odd or even.
            odd_or_even = (1 - heights[layer + 1] % 2, 1 - widths[layer + 1] % 2)
            is_last = layer == num_layers - 1
            layers += [
                nn.ConvTranspose2d(
                    before, after, kernel_size=3, stride=2, padding=1, output_padding=odd_or_even, bias=not is_last
                ),
                activation(),
            ]
        self.convolutions = nn.Sequential(*layers[:-1])

    def forward(self, codes: Float[Tensor, "B L"]) -> Float[Tensor, "B P"]:
        smallest = self.dense(codes).unflatten(-1, self.smallest)
        return self.convolutions(smallest).permute(0, 2, 3, 1).flatten(start_dim=1)
