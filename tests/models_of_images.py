"""Input specifications of models of images."""

from typing import Literal

from models.manifest import ImageSpec, InputSpec


def spec_of(
    mode: Literal["L", "RGB"],
    height: int,
    width: int,
    *,
    minimum: float = 0.0,
    maximum: float = 1.0,
    invert: bool = False,
) -> InputSpec:
    """Inputs of that size, grey or colour."""
    image = ImageSpec(mode=mode, height=height, width=width, invert=invert)
    return InputSpec(shape=image.shape, minimum=minimum, maximum=maximum, image=image)
