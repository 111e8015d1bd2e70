"""Standard noise, keyed by a seed and the number of a row: the same request gives the same noise in any batch.

The generator is Philox4x64-10, counter-based (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy
as 1, 2, 3"), as numpy ships it. Its key is `(seed, sample + 2^63 [purpose = prior])`; row i owns the counters
`i * blocks + 1 .. (i + 1) * blocks`, where a block is four 64-bit words and `blocks` is what one row needs (numpy
counts up before it draws, so counter 0 is never used). So the noise of a row depends on the seed, its number, the
number of its sample and how many values a row has, and on nothing else: not on how many rows or samples were asked for
beside it, nor on the process that drew it. Only the raw words come from numpy, whose bit streams are fixed (NEP 19);
its distributions, which may change between releases, are not used.

A word becomes a uniform on the open unit interval, `((word >> 12) + 1/2) / 2^52`: never 0 and never 1, so that the
noise is always finite. It is computed in float64 and rounded to float32 once, at the end. The uniforms are the same on
every machine; the last bit of a float64 logarithm is not, so that between two kinds of processor a noise value may,
very rarely, differ by one float32 step.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

NoiseName = Literal["gumbel", "logistic"]
Purpose = Literal["posterior", "prior"]

MAX_SEED = (1 << 63) - 1
_WORDS_PER_BLOCK = 4


def uniform(
    seed: int,
    num_rows: int,
    row_shape: Sequence[int],
    *,
    first_row: int = 0,
    sample: int = 0,
    purpose: Purpose = "posterior",
) -> NDArray[np.float64]:
    """Uniforms on the open unit interval, [num_rows, *row_shape], for rows `first_row ..` of a request.

    `sample` numbers independent draws for the same row; `purpose` keeps codes drawn from the prior independent of
    codes drawn for an input. Raises ValueError when `seed` or `sample` is not in 0..MAX_SEED, or `first_row` is
    negative.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed: expected 0 to {MAX_SEED}, got {seed}")
    if not 0 <= sample <= MAX_SEED:
        raise ValueError(f"sample: expected 0 to {MAX_SEED}, got {sample}")
    if first_row < 0:
        raise ValueError(f"first_row: expected at least 0, got {first_row}")
    # Exact integers from here on: numpy's would overflow where Python's grow.
    seed, sample, first_row = operator.index(seed), operator.index(sample), operator.index(first_row)
    values_per_row = math.prod(row_shape)
    blocks_per_row = -(-values_per_row // _WORDS_PER_BLOCK)
    stream = sample + (1 << 63 if purpose == "prior" else 0)
    generator = np.random.Philox(key=seed | stream << 64, counter=first_row * blocks_per_row)
    words = generator.random_raw(num_rows * blocks_per_row * _WORDS_PER_BLOCK)
    words = words.reshape(num_rows, blocks_per_row * _WORDS_PER_BLOCK)[:, :values_per_row]
    return uniform_of_words(words).reshape(num_rows, *row_shape)


def uniform_of_words(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """64-bit words to the middles of 2^52 equal parts of the unit interval: exact in float64, symmetric about 1/2."""
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def gumbel_quantile(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse distribution function of Gumbel(0, 1), `-log(-log(u))`: noise of categorical codes, one a category."""
    return -np.log(-np.log(u))


def logistic_quantile(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse distribution function of Logistic(0, 1), `log(u) - log(1 - u)`: noise of binary codes, one a bit.

    Not Gumbel: a bit is the sign of the difference of two perturbed scores, and the difference of two Gumbels is
    logistic (Maddison, Mnih and Teh 2016, arXiv:1611.00712, appendix B).
    """
    return np.log(u) - np.log1p(-u)


QUANTILES: dict[NoiseName, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "gumbel": gumbel_quantile,
    "logistic": logistic_quantile,
}
"""The inverse distribution function of each noise a manifest can name."""


def draw(
    noise: NoiseName,
    seed: int,
    num_rows: int,
    row_shape: Sequence[int],
    *,
    first_row: int = 0,
    sample: int = 0,
    purpose: Purpose = "posterior",
) -> NDArray[np.float32]:
    """Standard noise of that name, float32 [num_rows, *row_shape], by inversion. Arguments and errors as `uniform`."""
    u = uniform(seed, num_rows, row_shape, first_row=first_row, sample=sample, purpose=purpose)
    return QUANTILES[noise](u).astype(np.float32)
