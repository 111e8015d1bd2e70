"""Rows kept as bytes, to inputs: float32 as they lie in memory, or the pixels of an image."""

import numpy as np
from numpy.typing import NDArray

from models import pictures
from models.manifest import InputSpec
from service.checks import Floats


def read(content: NDArray[np.uint8], spec: InputSpec) -> Floats:
    """Rows [B, bytes] as inputs [B, D]; how many bytes there are a row says what they are.

    4 D bytes are little-endian float32. D bytes are 8-bit pixels, row by row and the channels of a pixel together, as
    an image file of the model's own size and mode has them, and they become what that file would become.

    Raises ValueError where they are neither.
    """
    width = content.shape[1]
    if width == 4 * spec.size:
        return content.view("<f4").astype(np.float32, copy=False)
    if width == spec.size and spec.image is not None:
        return pictures.to_values(np.uint8(255) - content if spec.image.invert else content, spec)
    pixels = f", or {spec.size} pixels" if spec.image is not None else ""
    raise ValueError(f"expected {4 * spec.size} bytes, {spec.size} float32{pixels}, got {width} bytes")
