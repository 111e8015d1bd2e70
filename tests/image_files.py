"""Files of images that tests send, Pillow's and such as Pillow does not write."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def file_of(pixels: Any, file_format: str = "PNG", **options: Any) -> bytes:
    """An image, or an array of pixels [H, W] or [H, W, C], as a file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def bomb(width: int, height: int, *, promised: tuple[int, int] | None = None) -> bytes:
    """A grey PNG of that size, all black, in a thousandth of its pixels; its header may promise another size."""
    squeeze = zlib.compressobj(9)
    rows = b"".join([*(squeeze.compress(bytes(width + 1)) for _ in range(height)), squeeze.flush()])
    return _png(*(promised or (width, height)), bits=8, colour_type=0, rows=rows)


def png_of_sixteen_bits(pixels: np.ndarray) -> bytes:
    """A colour PNG of big-endian uint16 [H, W, 3], which Pillow can read but not write."""
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))
    return _png(pixels.shape[1], pixels.shape[0], bits=16, colour_type=2, rows=rows)


def _png(width: int, height: int, *, bits: int, colour_type: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
