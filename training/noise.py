"""Standard noise for training, drawn in float32 whatever the model's dtype.

Low-precision uniforms are 0 often enough to matter (2 in 1000 in bfloat16), and then the noise is infinite; worse,
they cannot reach the tails, so rare categories are never drawn. Training draws from a `torch.Generator` on the
model's device, or hands out what was drawn from one before (`NoiseTape`); the noise of served codes is keyed by seed
and row instead (`models.noise`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from models.noise import NoiseName

_TINY = torch.finfo(torch.float32).tiny
_HALF_CELL_OF_DOUBLE = 2.0**-54
# torch.rand gives multiples of 2^-24, 0 among them, which stands for the interval up to 2^-24: take its middle.
_HALF_CELL = 2.0**-25


class NoiseTape(ABC):
    """What stands in a generator's place where noise is not drawn at the moment of its use."""

    @abstractmethod
    def take(self, noise: NoiseName, shape: Sequence[int]) -> Float[Tensor, "..."]:
        """The next noise, of that name and shape."""


NoiseSource = torch.Generator | NoiseTape
"""Where an objective, an estimator or a posterior has its noise from."""


class Draw(NamedTuple):
    """One request for noise."""

    noise: NoiseName
    shape: tuple[int, ...]


class NoiseRecorder(NoiseTape):
    """Draws from a generator, and remembers what was asked for: `draws`, in order."""

    def __init__(self, generator: torch.Generator) -> None:
        self.draws: list[Draw] = []
        self._generator = generator

    def take(self, noise: NoiseName, shape: Sequence[int]) -> Float[Tensor, "..."]:
        self.draws.append(Draw(noise, tuple(shape)))
        return draw(noise, shape, self._generator)


class DrawnNoise(NoiseTape):
    """Noise that was drawn before: tensors, handed out in the order in which they are asked for.

    With it a loss is a function of tensors alone, which can be compiled, and mapped over several runs each of which
    has a generator of its own.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = list(tensors)
        self._position = 0

    def take(self, noise: NoiseName, shape: Sequence[int]) -> Float[Tensor, "..."]:
        """Raises ValueError when what comes next is not of that shape, or nothing is left."""
        if self._position == len(self._tensors):
            raise ValueError(f"noise: all {len(self._tensors)} tensors are used up, and more {noise} noise is needed")
        tensor = self._tensors[self._position]
        if tuple(tensor.shape) != tuple(shape):
            raise ValueError(f"noise: expected the shape {list(shape)} next, got {list(tensor.shape)}")
        self._position += 1
        return tensor


class NoiseOfRows(NoiseTape):
    """Noise of some rows of a batch whose other rows are somebody else's: drawn for the whole batch, then cut out.

    So a row gets the noise that it would get if the batch were whole, to the bit, whoever else has which rows of it.
    """

    def __init__(self, generator: torch.Generator, rows: slice, *, batch_size: int, num_row_axes: int) -> None:
        """`rows` of `batch_size`; the noise of one row has `num_row_axes` axes, and its batch's is the one before."""
        self._generator = generator
        self._rows = rows
        self._batch_size = batch_size
        self._num_row_axes = num_row_axes

    def take(self, noise: NoiseName, shape: Sequence[int]) -> Float[Tensor, "..."]:
        axis = len(shape) - self._num_row_axes - 1
        whole = draw(noise, (*shape[:axis], self._batch_size, *shape[axis + 1 :]), self._generator)
        return whole.narrow(axis, self._rows.start, shape[axis])


def draw(noise: NoiseName, shape: Sequence[int], generator: NoiseSource) -> Float[Tensor, "..."]:
    """Independent noise of that name, location 0 and scale 1, in float32 on the generator's device; always finite."""
    if isinstance(generator, NoiseTape):
        return generator.take(noise, shape)
    return _of_raw(noise, _raw(noise, shape, generator))


def draw_each(
    noise: NoiseName, shape: Sequence[int], generators: Sequence[torch.Generator]
) -> Float[Tensor, "R *shape"]:
    """What `draw` gives for each of R generators, stacked; only what cannot be shared is done R times."""
    return _of_raw(noise, torch.stack([_raw(noise, shape, generator) for generator in generators]))


def _raw(noise: NoiseName, shape: Sequence[int], generator: torch.Generator) -> Float[Tensor, "..."]:
    """What the noise is made of: normal, exponential or uniform variables, in float32."""
    if noise == "gumbel":
        return _exponential(shape, generator)
    law = torch.randn if noise == "normal" else torch.rand
    return law(*shape, dtype=torch.float32, device=generator.device, generator=generator)


def _of_raw(noise: NoiseName, raw: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    if noise == "gumbel":
        return -raw.log()
    return raw if noise == "normal" else torch.logit(raw.clamp_min(_HALF_CELL))


def _exponential(shape: Sequence[int], generator: torch.Generator) -> Float[Tensor, "..."]:
    """Exponential(1) in float32, above 0, right in both tails.

    On a CPU as -log of a uniform in float64, a multiple of 2^-53 of which 0 stands for its half cell: `exponential_`
    draws one value after the other there, and takes more than twice the time.
    """
    if generator.device.type != "cpu":
        waiting = torch.empty(*shape, dtype=torch.float32, device=generator.device).exponential_(generator=generator)
        return waiting.clamp_min_(_TINY)
    uniform = torch.rand(*shape, dtype=torch.float64, generator=generator)
    return uniform.clamp_min_(_HALF_CELL_OF_DOUBLE).log_().neg_().to(torch.float32)
