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

NoiseName = Literal["gumbel", "logistic", "normal"]
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


def normal_quantile(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse distribution function of Normal(0, 1): noise of binary codes relaxed by a logistic-normal, one a bit.

    Wichura 1988, "Algorithm AS 241: the percentage points of the normal distribution", routine PPND16: three rational
    functions, of the squared distance from 1/2 in the middle and of sqrt(-log(tail)) outside, with a relative error of
    about 1e-16. Odd about 1/2 to the last bit.
    """
    from_centre = u - 0.5
    root = np.sqrt(-np.log(np.minimum(u, 1.0 - u)))
    middle = from_centre * _ratio(_MIDDLE, 0.180625 - from_centre * from_centre)
    tail = np.where(root <= 5.0, _ratio(_TAIL, root - 1.6), _ratio(_FAR_TAIL, root - 5.0))
    quantile: NDArray[np.float64] = np.where(np.abs(from_centre) <= 0.425, middle, np.copysign(tail, from_centre))
    return quantile


# Coefficients of AS 241, numerator and denominator of each rational function, highest power first.
_MIDDLE = (
    (
        2.5090809287301226727e3,
        3.3430575583588128105e4,
        6.7265770927008700853e4,
        4.5921953931549871457e4,
        1.3731693765509461125e4,
        1.9715909503065514427e3,
        1.3314166789178437745e2,
        3.3871328727963666080e0,
    ),
    (
        5.2264952788528545610e3,
        2.8729085735721942674e4,
        3.9307895800092710610e4,
        2.1213794301586595867e4,
        5.3941960214247511077e3,
        6.8718700749205790830e2,
        4.2313330701600911252e1,
        1.0,
    ),
)
_TAIL = (
    (
        7.74545014278341407640e-4,
        2.27238449892691845833e-2,
        2.41780725177450611770e-1,
        1.27045825245236838258e0,
        3.64784832476320460504e0,
        5.76949722146069140550e0,
        4.63033784615654529590e0,
        1.42343711074968357734e0,
    ),
    (
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        1.51986665636164571966e-2,
        1.48103976427480074590e-1,
        6.89767334985100004550e-1,
        1.67638483018380384940e0,
        2.05319162663775882187e0,
        1.0,
    ),
)
_FAR_TAIL = (
    (
        2.01033439929228813265e-7,
        2.71155556874348757815e-5,
        1.24266094738807843860e-3,
        2.65321895265761230930e-2,
        2.96560571828504891230e-1,
        1.78482653991729133580e0,
        5.46378491116411436990e0,
        6.65790464350110377720e0,
    ),
    (
        2.04426310338993978564e-15,
        1.42151175831644588870e-7,
        1.84631831751005468180e-5,
        7.86869131145613259100e-4,
        1.48753612908506148525e-2,
        1.36929880922735805310e-1,
        5.99832206555887937690e-1,
        1.0,
    ),
)


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rational function: each polynomial by Horner's rule."""
    numerator, denominator = (np.polyval(polynomial, x) for polynomial in coefficients)
    ratio: NDArray[np.float64] = numerator / denominator
    return ratio


QUANTILES: dict[NoiseName, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "gumbel": gumbel_quantile,
    "logistic": logistic_quantile,
    "normal": normal_quantile,
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
