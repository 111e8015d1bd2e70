"""Layouts of a code: indices, packed bits, hex, base64.

A code is `num_latents` integers in `0..num_categories-1`. Packed, each takes `ceil(log2(num_categories))` bits, most
significant bit first, latent after latent; the last byte is filled with zero bits. Hex and base64 (RFC 4648, with
padding) spell the packed bytes.

Shapes: N latents, P packed bytes; `...` stands for any leading axes.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import CodeError

MAX_CATEGORIES = 1 << 16


@dataclass(frozen=True)
class CodeLayout:
    """How many variables a code has, and how many values each."""

    num_latents: int
    num_categories: int

    def __post_init__(self) -> None:
        if self.num_latents < 1:
            raise CodeError(f"num_latents: expected at least 1, got {self.num_latents}")
        if not 2 <= self.num_categories <= MAX_CATEGORIES:
            raise CodeError(f"num_categories: expected 2 to {MAX_CATEGORIES}, got {self.num_categories}")

    @property
    def bits_per_latent(self) -> int:
        """`ceil(log2(num_categories))`."""
        return (self.num_categories - 1).bit_length()

    @property
    def num_bits(self) -> int:
        return self.num_latents * self.bits_per_latent

    @property
    def num_bytes(self) -> int:
        """Length of a packed code: its bits, filled up to whole bytes."""
        return -(-self.num_bits // 8)

    @property
    def dtype(self) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
        """The smallest unsigned integer that holds every category."""
        return np.dtype(np.uint8) if self.num_categories <= 256 else np.dtype(np.uint16)


def check(codes: NDArray[np.integer], layout: CodeLayout) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """`codes` [..., N] in the layout's dtype.

    Raises CodeError on a dtype that is no integer, on a wrong length, and on a value outside `0..num_categories-1`.
    """
    if codes.dtype.kind not in "iu":
        raise CodeError(f"expected integers, got {codes.dtype}")
    if codes.ndim == 0 or codes.shape[-1] != layout.num_latents:
        got = codes.shape[-1] if codes.ndim else "a single number"
        raise CodeError(f"expected codes of {layout.num_latents} values, got {got}")
    outside = (codes < 0) | (codes >= layout.num_categories)
    if outside.any():
        where = tuple(int(axis) for axis in np.argwhere(outside)[0])
        raise CodeError(
            f"expected values in 0..{layout.num_categories - 1}, got {int(codes[where])} at position {list(where)}"
        )
    return codes.astype(layout.dtype, copy=False)


def pack(codes: NDArray[np.integer], layout: CodeLayout) -> NDArray[np.uint8]:
    """Codes [..., N] to packed bytes [..., P]. Inverse of `unpack`. Raises CodeError as `check` does."""
    checked = check(codes, layout)
    shifts = np.arange(layout.bits_per_latent - 1, -1, -1, dtype=layout.dtype)
    bits = (checked[..., None] >> shifts) & 1
    return np.packbits(bits.reshape(*checked.shape[:-1], layout.num_bits).astype(np.uint8), axis=-1)


def unpack(packed: NDArray[np.uint8], layout: CodeLayout) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Packed bytes [..., P] to codes [..., N] in the layout's dtype. Inverse of `pack`.

    Raises CodeError on a wrong length, on fill bits that are not zero, and on a value outside `0..num_categories-1`.
    """
    if packed.ndim == 0 or packed.shape[-1] != layout.num_bytes:
        got = packed.shape[-1] if packed.ndim else 0
        raise CodeError(f"expected {layout.num_bytes} bytes a code, got {got}")
    bits = np.unpackbits(packed, axis=-1)
    if bits[..., layout.num_bits :].any():
        raise CodeError(
            f"expected the last {layout.num_bytes * 8 - layout.num_bits} bits of a packed code to be 0, got a 1 there"
        )
    bits = bits[..., : layout.num_bits].reshape(*packed.shape[:-1], layout.num_latents, layout.bits_per_latent)
    weights = (1 << np.arange(layout.bits_per_latent - 1, -1, -1)).astype(np.uint32)
    return check((bits * weights).sum(axis=-1, dtype=np.uint32), layout)


def to_hex(codes: NDArray[np.integer], layout: CodeLayout) -> list[str]:
    """Codes [B, N] to B lower-case strings of 2 P digits. Inverse of `from_hex`."""
    return [row.tobytes().hex() for row in pack(codes, layout)]


def from_hex(texts: Sequence[str], layout: CodeLayout) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Hex strings to codes [B, N]. Raises CodeError naming the first string that does not fit."""
    rows = []
    for row, text in enumerate(texts):
        # bytes.fromhex would skip white space.
        if not isinstance(text, str) or len(text) != 2 * layout.num_bytes or not text.isalnum():
            raise CodeError(f"row {row}: expected a string of {2 * layout.num_bytes} hex digits, got {_shown(text)}")
        try:
            rows.append(bytes.fromhex(text))
        except ValueError:
            raise CodeError(f"row {row}: expected hex digits, got {_shown(text)}") from None
    return _unpack_rows(rows, layout)


def to_base64(codes: NDArray[np.integer], layout: CodeLayout) -> list[str]:
    """Codes [B, N] to B strings of standard base64, with padding. Inverse of `from_base64`."""
    return [base64.b64encode(row.tobytes()).decode("ascii") for row in pack(codes, layout)]


def from_base64(texts: Sequence[str], layout: CodeLayout) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Base64 strings to codes [B, N]. Raises CodeError naming the first string that does not fit."""
    rows = []
    for row, text in enumerate(texts):
        try:
            packed = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise CodeError(f"row {row}: expected standard base64, got {_shown(text)}") from None
        if len(packed) != layout.num_bytes:
            raise CodeError(f"row {row}: expected base64 of {layout.num_bytes} bytes, got {len(packed)} bytes")
        rows.append(packed)
    return _unpack_rows(rows, layout)


def _unpack_rows(rows: list[bytes], layout: CodeLayout) -> NDArray[np.uint8] | NDArray[np.uint16]:
    return unpack(np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), layout.num_bytes), layout)


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return f"a value of type {type(value).__name__}"
    return repr(value if len(value) <= 40 else value[:37] + "...") + f" of length {len(value)}"
