"""Draws the images of a decode, reconstruct or generate reply, read from standard input, in the terminal."""

import json
import sys

SHADES = " .:-=+*#%@"


def drawn(image: list[list[float]]) -> str:
    """One grey image with values in [0, 1] as lines of text, each pixel two characters wide."""
    return "\n".join("".join(2 * SHADES[round(value * (len(SHADES) - 1))] for value in row) for row in image)


if __name__ == "__main__":
    sys.stdout.write("\n\n".join(drawn(image) for image in json.load(sys.stdin)["outputs"]) + "\n")
