"""An image file becomes pixels: what is safe to open, which way is up, what transparency and 16 bits turn into."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")

# Only these decoders: Pillow's others start programs (EPS), or are rare and less well tested.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
_GREY_MODES = ("1", "L", "LA", "La")
_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_BACKGROUND = (255, 255, 255, 255)


def open_picture(content: bytes, path: Path) -> Image.Image:
    """The first frame, upright as its EXIF orientation says, in mode "L" or "RGB".

    Transparent pixels are laid over white; 16-bit grey keeps its upper 8 bits, rounded. Raises DataError that names the
    file when Pillow cannot decode it, or when it is so large that it may be an attack (Pillow's MAX_IMAGE_PIXELS).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                return _flattened(ImageOps.exif_transpose(image))
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read as an image ({error}); repair or remove it") from error


_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def has_colour(image: Image.Image) -> bool:
    """Whether any pixel of an "L" or "RGB" image is not grey."""
    if image.mode == "L":
        return False
    pixels = np.asarray(image)
    return bool((pixels != pixels[..., :1]).any())


def pixels_of(image: Image.Image, mode: Literal["L", "RGB"], resize: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Pixels [H, W] or [H, W, 3]: converted, then scaled to `resize` (height, width), as `ImageSpec` says."""
    converted = image.convert(mode)
    if resize is not None:
        height, width = resize
        converted = converted.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(converted, dtype=np.uint8)


def _flattened(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT_MODES:
        return _from_sixteen_bits(image)
    if image.mode == "F":
        raise ValueError("its pixels are floats; save them as an array, and set data.name to array")
    if image.has_transparency_data:
        over = Image.new("RGBA", image.size, _BACKGROUND)
        over.alpha_composite(image.convert("RGBA"))
        return over.convert("L" if image.mode in _GREY_MODES else "RGB")
    return image.convert("L" if image.mode in _GREY_MODES else "RGB")


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    # Pillow's own conversion of these modes clips at 255: all but the darkest pixels would become white.
    values = np.asarray(image).astype(np.int64)
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise ValueError("its grey values exceed 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
