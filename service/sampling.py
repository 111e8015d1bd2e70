"""How a request wants its codes drawn: the temperatures, the seed, the number of samples, and what is allowed."""

import secrets
from collections.abc import Collection, Sequence
from typing import NamedTuple, Self

from models.noise import MAX_SEED
from service.errors import invalid, shown

MAX_TEMPERATURE = 1e30
"""Scores stay finite in float32 up to here: noise is at most about 37 in absolute value."""

MIN_RELAXATION_TEMPERATURE = 1e-30
MAX_RELAXATION_TEMPERATURE = 1e30

_DRAWN_SEEDS = 1 << 53
"""Seeds that the service draws are below this: JSON numbers that every language holds exactly."""

TEMPERATURE_EXPECTED = f"a finite number from 0 to {MAX_TEMPERATURE:g}"
RELAXATION_TEMPERATURE_EXPECTED = (
    f"a finite number above 0, from {MIN_RELAXATION_TEMPERATURE:g} to {MAX_RELAXATION_TEMPERATURE:g}"
)
SEED_EXPECTED = f"an integer from 0 to {MAX_SEED}"
MAX_FIRST_ROW = MAX_SEED
FIRST_ROW_EXPECTED = f"an integer from 0 to {MAX_FIRST_ROW}"


class Sampling(NamedTuple):
    """Checked parameters. `seed` is None only at temperature 0, where nothing is drawn."""

    temperature: float
    relaxation_temperature: float
    seed: int | None
    num_samples: int
    first_row: int = 0
    """Number of the first row, for its noise: requests that continue each other draw what one request would."""

    @classmethod
    def checked(
        cls,
        *,
        temperature: float,
        relaxation_temperature: float,
        seed: int | None,
        num_samples: int = 1,
        first_row: int = 0,
    ) -> Self:
        """Raises InvalidFields. Above temperature 0 a missing seed is drawn from the operating system's randomness."""
        if not 0 <= temperature <= MAX_TEMPERATURE:
            raise invalid("temperature", TEMPERATURE_EXPECTED, shown(temperature))
        if not MIN_RELAXATION_TEMPERATURE <= relaxation_temperature <= MAX_RELAXATION_TEMPERATURE:
            raise invalid("relaxation_temperature", RELAXATION_TEMPERATURE_EXPECTED, shown(relaxation_temperature))
        if seed is not None and not 0 <= seed <= MAX_SEED:
            raise invalid("seed", SEED_EXPECTED, shown(seed))
        if num_samples < 1:
            raise invalid("num_samples", "an integer of at least 1", shown(num_samples))
        if not 0 <= first_row <= MAX_FIRST_ROW:
            raise invalid("first_row", FIRST_ROW_EXPECTED, shown(first_row))
        if seed is None and temperature > 0:
            seed = secrets.randbelow(_DRAWN_SEEDS)
        return cls(float(temperature), float(relaxation_temperature), seed, num_samples, first_row)

    def continued(self, num_rows: int) -> Self:
        """The same for the rows that follow the first `num_rows`."""
        return self._replace(first_row=self.first_row + num_rows)

    @property
    def is_deterministic(self) -> bool:
        return self.temperature == 0


def checked_outputs(outputs: Sequence[str], known: Collection[str]) -> frozenset[str]:
    """The names asked for. Raises InvalidFields when there is none, or one that is not known."""
    if not outputs:
        raise invalid("outputs", f"one or more of {', '.join(known)}", "none")
    for index, name in enumerate(outputs):
        if name not in known:
            raise invalid(f"outputs[{index}]", f"one of {', '.join(known)}", shown(name))
    return frozenset(outputs)
