"""Which image files are opened for training, and what is said of those that cannot be; `models.pictures` has the rule
by which they become pixels, there as in the service.
"""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from models.pictures import flattened
from training.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")

# Only these decoders: Pillow's others start programs (EPS), or are rare and less well tested.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")


def open_picture(content: bytes, path: Path) -> Image.Image:
    """The first frame, upright and opaque, in mode "L" or "RGB".

    Raises DataError that names the file when Pillow cannot decode it, when its pixels are floats, or when it is so
    large that it may be an attack (Pillow's MAX_IMAGE_PIXELS).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                return flattened(image)
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
