"""What a file is, by its first bytes: names lie."""

from pathlib import Path
from typing import Literal

from service.errors import FileRefused

Kind = Literal["npy", "parquet", "image", "text", "empty", "other"]

NUM_BYTES = 16
"""How many first bytes tell."""

_MAGIC: tuple[tuple[bytes, Kind, str], ...] = (
    (b"\x93NUMPY", "npy", "a .npy file"),
    (b"PAR1", "parquet", "a Parquet file"),
    (b"\x89PNG\r\n\x1a\n", "image", "a PNG image"),
    (b"\xff\xd8\xff", "image", "a JPEG image"),
    (b"GIF8", "image", "a GIF image"),
    (b"BM", "image", "a BMP image"),
    (b"II*\x00", "image", "a TIFF image"),
    (b"MM\x00*", "image", "a TIFF image"),
    (b"RIFF", "image", "a WebP image"),
    (b"%PDF", "other", "a PDF document"),
    (b"PK\x03\x04", "other", "a ZIP archive (.npz is one)"),
    (b"\x1f\x8b", "other", "gzip-compressed"),
    (b"\x80\x04\x95", "other", "a pickle"),
)

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
_BY_SUFFIX: dict[str, Kind] = {".npy": "npy", ".parquet": "parquet", **dict.fromkeys(IMAGE_SUFFIXES, "image")}
_NAMES: dict[Kind, str] = {"npy": "a .npy file", "parquet": "a Parquet file", "image": "an image"}


def described(first_bytes: bytes) -> tuple[Kind, str]:
    """The kind, and a name for people."""
    if not first_bytes:
        return "empty", "empty"
    for magic, kind, name in _MAGIC:
        if first_bytes.startswith(magic):
            return kind, name
    if b"\x00" in first_bytes:
        return "other", "binary data of a kind that is not known"
    return "text", "text"


def kind_of(path: Path) -> Kind:
    """Of a file, by its bytes. Raises FileRefused when it cannot be read, or when its name says something else."""
    first_bytes = read_first_bytes(path)
    kind, name = described(first_bytes)
    promised = _BY_SUFFIX.get(path.suffix.lower())
    if kind == "empty":
        raise FileRefused(f"{path}: expected content, the file is empty (0 bytes)")
    if promised is not None and kind != promised:
        raise FileRefused(f"{path}: expected {_NAMES[promised]}, as its name says; by its bytes it is {name}")
    if kind == "other":
        raise FileRefused(f"{path}: expected an image, .npy, Parquet or text; by its bytes it is {name}")
    return kind


def read_first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(NUM_BYTES)
    except OSError as error:
        raise FileRefused(f"{path}: cannot be read: {error.strerror}") from error
