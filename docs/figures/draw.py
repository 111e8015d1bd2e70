"""Draws the figures of the documents with the code that trains: `python docs/figures/draw.py`."""

import argparse
from collections.abc import Callable
from pathlib import Path

from gradients import straight_through_bias
from laws import hard_bits, law_of_the_code, relaxed_bits, relaxed_categories, two_temperatures
from panels import Figure

FIGURES: tuple[Callable[[], Figure], ...] = (
    law_of_the_code,
    two_temperatures,
    relaxed_bits,
    hard_bits,
    relaxed_categories,
    straight_through_bias,
)


def main() -> None:
    """Draw every figure into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where to write (default: here)")
    folder = parser.parse_args().folder
    for figure in FIGURES:
        print(figure().draw(folder))


if __name__ == "__main__":
    main()
