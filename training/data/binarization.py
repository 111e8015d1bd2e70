"""How a grey value in [0, 1] becomes an input of a Bernoulli likelihood, and what follows from it.

    dynamic     each value is drawn anew from Bernoulli(value) every time a batch is made (Burda, Grosse and
                Salakhutdinov 2015, arXiv:1509.00519, section 5); evaluation uses one draw with a fixed seed
    threshold   1 where the value is greater than 1/2, else 0
    none        the value as it is; the likelihood is one only when every value is 0 or 1

Shapes: n rows, D values a row. `values` are raw, as a `Split` holds them: the value in [0, 1] is `raw / scale`.
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.noise import uniform

Binarization = Literal["dynamic", "threshold", "none"]
BINARIZATIONS: tuple[Binarization, ...] = ("dynamic", "threshold", "none")

EVALUATION_SEED = 20181
"""Seed of the one draw that stands for a dynamic binarisation in every evaluation. Changing it changes the numbers."""

_ROWS_AT_ONCE = 4096  # bounds the float64 intermediates to 25 MB for images of 28 x 28


def is_binary(values: NDArray[Any], scale: float) -> bool:
    """Whether every raw value stands for exactly 0 or 1."""
    return all(bool(((values[rows] == 0) | (values[rows] == scale)).all()) for rows in _pieces(len(values)))


def binarized(
    values: NDArray[Any], scale: float, binarization: Binarization, *, seed: int = EVALUATION_SEED, sample: int = 0
) -> NDArray[np.float32]:
    """Inputs [n, D] in [0, 1]; under "dynamic" bit d of row i is 1 when `models.noise.uniform` gives u < value there.

    The draw of a row depends on `seed`, `sample`, the number of the row and D alone.
    """
    inputs = np.empty(values.shape, np.float32)
    for rows in _pieces(len(values)):
        raw = values[rows]
        if binarization == "dynamic":
            u = uniform(seed, len(raw), raw.shape[1:], first_row=rows.start, sample=sample)
            inputs[rows] = u < raw / np.float64(scale)
        elif binarization == "threshold":
            inputs[rows] = raw > scale / 2
        else:
            inputs[rows] = raw / np.float64(scale)
    return inputs


def mean_input(values: NDArray[Any], scale: float, binarization: Binarization) -> NDArray[np.float32]:
    """Mean input, [D]: exact also for "dynamic", where it is the mean over the rows and over the draws."""
    if binarization == "threshold":
        mean = np.mean(values > scale / 2, axis=0, dtype=np.float64)
    else:
        mean = np.mean(values, axis=0, dtype=np.float64) / scale
    return np.asarray(mean, np.float32)


def _pieces(num_rows: int) -> Iterator[slice]:
    for start in range(0, num_rows, _ROWS_AT_ONCE):
        yield slice(start, min(start + _ROWS_AT_ONCE, num_rows))
