"""Images in and out: PNG and JPEG files to input rows, outputs to one PNG.

What a file is, its bytes say, whatever it was called. Only its header is read until its pixels are known to be few
enough; how it becomes a row is `models.pictures`' rule, the same as in training. Nothing here knows HTTP.
"""

import base64
import binascii
import io
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import pictures
from models.manifest import InputSpec
from service.checks import Floats
from service.errors import InvalidFields, invalid, quoted, shown

FORMATS = ("PNG", "JPEG")
_EXPECTED = "a PNG or JPEG image"
_SIGNATURES = (
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"%PDF", "a PDF document"),
    (b"\x93NUMPY", "a .npy array"),
    (b"PK\3\4", "a ZIP archive"),
    (b"PAR1", "a Parquet file"),
)
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_PNG_SIZE_AT = 16
_SECONDS_PER_BYTE = 1e-6
"""A chunk of a PNG may unpack to a thousand bytes a byte."""
_SECONDS_PER_PIXEL = 2e-8
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    EOFError,
    KeyError,
    AttributeError,
    MemoryError,
    OverflowError,
    struct.error,
    zlib.error,
    Warning,
)
"""What Pillow raises on files that are not what they seem; a warning only where Python was told to raise those."""

_GAP = 2
"""Pixels between the pictures of a sheet."""
_GAP_LEVEL = 128


class Describes(Protocol):
    """What has to be known of a model: its manifest says it, and whatever repeats that."""

    @property
    def name(self) -> str: ...

    @property
    def input(self) -> InputSpec: ...


@dataclass(frozen=True)
class Conversion:
    """What one image was, and what was done to it so that it became an input."""

    format: str
    width: int
    height: int
    steps: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As a reply spells it."""
        return {"format": self.format, "width": self.width, "height": self.height, "steps": list(self.steps)}


@dataclass(frozen=True)
class Images:
    """Images as inputs of a model."""

    inputs: Floats
    """[B, *input]"""
    conversions: tuple[Conversion, ...]


@dataclass(frozen=True)
class File:
    """An image that a request holds, not looked at yet. `field` is where it stands in the request."""

    field: str
    content: bytes


def unpack(texts: Any) -> list[File]:
    """The `images` of a JSON body, files in base64. Raises InvalidFields, which names the first that is none."""
    if type(texts) is not list:
        raise invalid("images", "a list of PNG or JPEG images in base64", shown(texts))
    if not texts:
        raise invalid("images", "at least one image", "an empty list")
    files = []
    for index, text in enumerate(texts):
        field = f"images[{index}]"
        if type(text) is not str:
            raise invalid(field, f"{_EXPECTED} in base64", shown(text))
        try:
            files.append(File(field, base64.b64decode(text, validate=True)))
        except (binascii.Error, ValueError):
            raise invalid(field, f"{_EXPECTED} in base64", f"no base64: {quoted(text)}") from None
    return files


def seconds_to_read(files: Sequence[File]) -> float:
    """What `read` may take at most, told from the files without opening them; on the high side."""
    return sum(_seconds_to_read(file.content) for file in files)


def read(files: Sequence[File], manifest: Describes, *, max_pixels: int) -> Images:
    """Files to inputs of this model. Raises InvalidFields, which names the one that cannot be read and why.

    `max_pixels` bounds the pixels of all of them together, as their headers state them, before any is decoded.
    """
    spec = manifest.input
    if spec.image is None:
        expected = f"numbers: rows of shape {list(spec.shape)}, which is what {manifest.name} takes"
        raise invalid(files[0].field, expected, "an image" if len(files) == 1 else f"{len(files)} images")
    opened: list[Image.Image] = []
    num_pixels = 0
    for file in files:
        image = _open(file, max_pixels)
        num_pixels += image.width * image.height
        if num_pixels > max_pixels:
            raise _too_many(file.field, max_pixels, f"{image.width} x {image.height}, which makes {num_pixels}")
        opened.append(image)
    read = [_row(image, file.field, spec) for image, file in zip(opened, files, strict=True)]
    return Images(np.stack([values for values, _ in read]), tuple(conversion for _, conversion in read))


def to_png(outputs: Floats, spec: InputSpec) -> bytes:
    """Outputs [B, *input] or [B, S, *input] as one PNG: a picture, or a sheet of them.

    On a sheet rows follow one another, left to right and top to bottom; the S samples of a row stand in a line of their
    own. The model's inversion is undone, so that a picture looks like the files that the model is given.
    """
    pixels = pictures.to_pixels(outputs, spec)
    lead = pixels.shape[: pixels.ndim - len(spec.shape)]
    if len(lead) == 2:
        num_lines, num_columns = lead
    else:
        num_columns = math.ceil(math.sqrt(lead[0]))
        num_lines = math.ceil(lead[0] / num_columns)
    buffer = io.BytesIO()
    Image.fromarray(_sheet(pixels.reshape(-1, *spec.shape), num_lines, num_columns)).save(buffer, "PNG")
    return buffer.getvalue()


def _seconds_to_read(content: bytes) -> float:
    if content.startswith(_JPEG_SIGNATURE):
        return math.inf  # how many pixels, only its decoder knows
    width, height = struct.unpack_from(">II", content, _PNG_SIZE_AT) if len(content) >= _PNG_SIZE_AT + 8 else (0, 0)
    return len(content) * _SECONDS_PER_BYTE + int(width) * int(height) * _SECONDS_PER_PIXEL


def _open(file: File, max_pixels: int) -> Image.Image:
    """The file with only its header read."""
    content, field = file.content, file.field
    if not content.startswith((_PNG_SIGNATURE, _JPEG_SIGNATURE)):
        raise invalid(field, _EXPECTED, _kind_of(content))
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        is_animated = image.format == "PNG" and getattr(image, "is_animated", False)
    except Image.DecompressionBombError:  # Pillow has a limit of its own, far above
        raise _too_many(field, max_pixels, "far more") from None
    except _UNREADABLE as error:
        raise _broken(field, content, error) from None
    if is_animated:
        num_frames = getattr(image, "n_frames", 0)
        raise invalid(field, "an image that does not move", f"an animated PNG of {num_frames} frames")
    return image


def _row(image: Image.Image, field: str, spec: InputSpec) -> tuple[Floats, Conversion]:
    format_name = "PNG" if image.format == "PNG" else "JPEG"  # Pillow calls a JPEG of several pictures MPO
    size = image.size
    try:
        values, steps = pictures.to_row(image, spec)
    except _UNREADABLE as error:
        raise _broken(field, b"\x89" if format_name == "PNG" else b"\xff", error) from None
    return values, Conversion(format_name, *size, tuple(steps))


def _too_many(field: str, max_pixels: int, received: str) -> InvalidFields:
    return invalid(field, f"at most {max_pixels} pixels in the images of a request", received)


def _broken(field: str, content: bytes, error: BaseException) -> InvalidFields:
    name = "PNG" if content.startswith(b"\x89") else "JPEG"
    return invalid(field, _EXPECTED, f"a {name} file that cannot be decoded: {quoted(str(error) or 'it breaks off')}")


def _kind_of(content: bytes) -> str:
    if not content:
        return "no bytes at all"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "a WebP image"
    if content[4:8] == b"ftyp":
        return "a HEIC, AVIF or MP4 file"
    known = next((name for signature, name in _SIGNATURES if content.startswith(signature)), None)
    return known or f"{len(content)} bytes of something else"


def _sheet(images: NDArray[np.uint8], num_lines: int, num_columns: int) -> NDArray[np.uint8]:
    """[B, H, W] or [B, H, W, 3] laid out; a single one without a frame."""
    if len(images) == 1:
        only: NDArray[np.uint8] = images[0]
        return only
    height, width = images.shape[1:3]
    shape = (num_lines * (height + _GAP) + _GAP, num_columns * (width + _GAP) + _GAP, *images.shape[3:])
    sheet = np.full(shape, _GAP_LEVEL, np.uint8)
    for index, image in enumerate(images):
        line, column = divmod(index, num_columns)
        top, left = line * (height + _GAP) + _GAP, column * (width + _GAP) + _GAP
        sheet[top : top + height, left : left + width] = image
    return sheet
