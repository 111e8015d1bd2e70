"""How an image becomes an input row, and an output row an image: the one rule, for training and for serving.

The only module of the contract that needs Pillow, which comes with the extras `serve` and `train`.

An image is turned upright as its EXIF orientation says; transparent pixels are laid over white; of 16 bits a channel
the upper 8 remain (rounded where it is grey, cut off by Pillow where it is colour); palettes, CMYK and YCbCr become RGB
as Pillow converts them, colour profiles are ignored; then it is converted to the manifest's mode (grey with the weights
of ITU-R 601), resized bilinearly to its height and width (the aspect ratio is not kept), and inverted if the manifest
says so. A pixel p becomes minimum + p / 255 (maximum - minimum).
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from models.manifest import InputSpec

_GREY_MODES = ("1", "L", "LA", "La")
_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_BACKGROUND = (255, 255, 255, 255)
_LEVELS = 255


class Row(NamedTuple):
    """An image as the model takes it, and what was done to it, in words and in order; nothing if nothing was."""

    values: NDArray[np.float32]
    """[*input]"""
    steps: list[str]


def to_row(image: Image.Image, spec: InputSpec) -> Row:
    """The image as an input of this model. Raises ValueError when there is no rule for the image or for the model."""
    if spec.image is None:
        raise ValueError("the model's manifest does not say how an image becomes an input")
    upright, steps = _upright(image)
    flat, more = _flattened(upright)
    steps += more
    if flat.mode != spec.image.mode:
        steps.append("colour to grey" if spec.image.mode == "L" else "grey to colour")
    if flat.size != (spec.image.width, spec.image.height):
        steps.append(f"resized from {flat.width} x {flat.height} to {spec.image.width} x {spec.image.height}")
    pixels = pixels_of(flat, spec.image.mode, (spec.image.height, spec.image.width))
    if spec.image.invert:
        pixels = _LEVELS - pixels
        steps.append("inverted")
    return Row(to_values(pixels, spec), steps)


def to_values(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """Pixels, inverted already where they are to be, as values in the model's range."""
    fractions = pixels.astype(np.float32) / np.float32(_LEVELS)
    if (spec.minimum, spec.maximum) == (0.0, 1.0):
        return fractions
    return np.float32(spec.minimum) + fractions * np.float32(spec.maximum - spec.minimum)


def to_pixels(values: NDArray[np.float32], spec: InputSpec) -> NDArray[np.uint8]:
    """Outputs [..., *input] as pixels, rounded; values outside of the range are clipped. Inverse of `to_row`'s rule."""
    fractions = (values.astype(np.float64) - spec.minimum) / (spec.maximum - spec.minimum)
    pixels: NDArray[np.uint8] = np.rint(fractions.clip(0, 1) * _LEVELS).astype(np.uint8)
    return np.uint8(_LEVELS) - pixels if spec.image is not None and spec.image.invert else pixels


def flattened(image: Image.Image) -> Image.Image:
    """Upright, opaque, of 8 bits a channel, in mode "L" or "RGB". Raises ValueError where there is no rule."""
    return _flattened(_upright(image)[0])[0]


def pixels_of(image: Image.Image, mode: Literal["L", "RGB"], resize: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Pixels [H, W] or [H, W, 3] of an "L" or "RGB" image: converted, then scaled to `resize` (height, width)."""
    converted = image.convert(mode)
    if resize is not None:
        height, width = resize
        converted = converted.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(converted, dtype=np.uint8)


def _upright(image: Image.Image) -> tuple[Image.Image, list[str]]:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    upright = ImageOps.exif_transpose(image)
    return upright, [f"turned upright, as EXIF orientation {orientation} says"] if orientation in range(2, 9) else []


def _flattened(image: Image.Image) -> tuple[Image.Image, list[str]]:
    if image.mode in _SIXTEEN_BIT_MODES:
        return _from_sixteen_bits(image), ["16 bits a pixel to 8"]
    if image.mode == "F":
        raise ValueError("its pixels are floats; save them as an array")
    mode = "L" if image.mode in _GREY_MODES else "RGB"
    if image.has_transparency_data:
        over = Image.new("RGBA", image.size, _BACKGROUND)
        over.alpha_composite(image.convert("RGBA"))
        return over.convert(mode), ["transparency laid over white"]
    steps = [f"{image.mode} to RGB"] if mode == "RGB" and image.mode not in ("RGB", "P") else []
    return image.convert(mode), steps


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    # Pillow's own conversion of these modes clips at 255: all but the darkest pixels would become white.
    values = np.asarray(image).astype(np.int64)
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise ValueError("its grey values exceed 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
