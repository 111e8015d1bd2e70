"""Layouts of a code: indices, packed bits, hex, base64.

A code is `num_latents` integers in `0..num_categories-1`. Packed, each takes `ceil(log2(num_categories))` bits, most
significant bit first, latent after latent; the last byte is filled with zero bits. Hex and base64 (RFC 4648, with
padding) spell the packed bytes.

Shapes: N latents, P packed bytes; `...` stands for any leading axes.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import CodeError

MAX_CATEGORIES = 1 << 16

Codes = NDArray[np.unsignedinteger[Any]]
"""Codes in the dtype of their layout: uint8, or uint16 when there are more than 256 categories."""


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


def check(codes: NDArray[np.integer[Any]], layout: CodeLayout) -> Codes:
    """`codes` [..., N] in the layout's dtype.

    Raises CodeError on a dtype that is no integer, on a wrong length, and on a value outside `0..num_categories-1`.
    """
    if codes.dtype.kind not in "iu":
        raise CodeError(f"expected integers, got {codes.dtype}")
    if codes.ndim == 0 or codes.shape[-1] != layout.num_latents:
        got = codes.shape[-1] if codes.ndim else "a single number"
        raise CodeError(f"expected codes of {layout.num_latents} values, got {got}")
    if codes.size and (codes.min() < 0 or codes.max() >= layout.num_categories):
        outside = (codes < 0) | (codes >= layout.num_categories)
        where = tuple(int(axis) for axis in np.argwhere(outside)[0])
        raise CodeError(
            f"expected values in 0..{layout.num_categories - 1}, got {int(codes[where])} at position {list(where)}"
        )
    checked: Codes = codes.astype(layout.dtype, copy=False)
    return checked


def pack(codes: NDArray[np.integer[Any]], layout: CodeLayout) -> NDArray[np.uint8]:
    """Codes [..., N] to packed bytes [..., P]. Inverse of `unpack`. Raises CodeError as `check` does."""
    checked = check(codes, layout)
    if layout.bits_per_latent == 1:
        return np.packbits(checked, axis=-1)
    bits = (checked[..., None] & _bit_weights(layout)) != 0
    return np.packbits(bits.reshape(*checked.shape[:-1], layout.num_bits), axis=-1)


def unpack(packed: NDArray[np.uint8], layout: CodeLayout) -> Codes:
    """Packed bytes [..., P] to codes [..., N] in the layout's dtype. Inverse of `pack`.

    Raises CodeError on a dtype other than uint8, on a wrong length, on fill bits that are not zero, and on a value
    outside `0..num_categories-1`.
    """
    if packed.dtype != np.uint8:
        raise CodeError(f"expected bytes (uint8), got {packed.dtype}")
    if packed.ndim == 0 or packed.shape[-1] != layout.num_bytes:
        got = packed.shape[-1] if packed.ndim else "a single number"
        raise CodeError(f"expected {layout.num_bytes} bytes a code, got {got}")
    bits = np.unpackbits(packed, axis=-1)
    if bits[..., layout.num_bits :].any():
        raise CodeError(
            f"expected the last {layout.num_bytes * 8 - layout.num_bits} bits of a packed code to be 0, got a 1 there"
        )
    bits = bits[..., : layout.num_bits].reshape(*packed.shape[:-1], layout.num_latents, layout.bits_per_latent)
    return check((bits * _bit_weights(layout)).sum(axis=-1, dtype=layout.dtype), layout)


def to_hex(codes: NDArray[np.integer[Any]], layout: CodeLayout) -> list[str]:
    """Codes [B, N] to B lower-case strings of 2 P digits. Inverse of `from_hex`."""
    return [row.tobytes().hex() for row in pack(codes, layout)]


def from_hex(texts: Sequence[str], layout: CodeLayout) -> Codes:
    """Hex strings, of either case, to codes [B, N]. Raises CodeError naming the first string that does not fit."""
    rows = []
    for row, text in enumerate(texts):
        # bytes.fromhex would skip white space; isalnum lets none pass.
        if not isinstance(text, str) or len(text) != 2 * layout.num_bytes or not text.isalnum():
            raise CodeError(f"row {row}: expected a string of {2 * layout.num_bytes} hex digits, got {_shown(text)}")
        try:
            rows.append(bytes.fromhex(text))
        except ValueError:
            raise CodeError(f"row {row}: expected hex digits, got {_shown(text)}") from None
    return _unpack_rows(rows, layout)


def to_base64(codes: NDArray[np.integer[Any]], layout: CodeLayout) -> list[str]:
    """Codes [B, N] to B strings of standard base64, with padding. Inverse of `from_base64`."""
    return [base64.b64encode(row.tobytes()).decode("ascii") for row in pack(codes, layout)]


def from_base64(texts: Sequence[str], layout: CodeLayout) -> Codes:
    """Base64 strings to codes [B, N]. Raises CodeError naming the first string that does not fit.

    One code has one spelling: a last character with bits that no byte uses (RFC 4648, section 3.5) is refused.
    """
    rows = []
    for row, text in enumerate(texts):
        try:
            packed = base64.b64decode(text, validate=True) if isinstance(text, str) else None
        except ValueError:  # binascii.Error is one, and so is what a character beyond ASCII raises
            packed = None
        if packed is None:
            raise CodeError(f"row {row}: expected standard base64, got {_shown(text)}")
        if len(packed) != layout.num_bytes:
            raise CodeError(f"row {row}: expected base64 of {layout.num_bytes} bytes, got {len(packed)} bytes")
        spelling = base64.b64encode(packed).decode("ascii")
        if spelling != text:
            raise CodeError(
                f"row {row}: expected the base64 of these bytes spelt {spelling[-4:]!r} at its end, got {_shown(text)}"
            )
        rows.append(packed)
    return _unpack_rows(rows, layout)


def _bit_weights(layout: CodeLayout) -> Codes:
    """Value of each bit of one latent, most significant first: [bits_per_latent], in the layout's dtype."""
    powers = 1 << np.arange(layout.bits_per_latent - 1, -1, -1)
    weights: Codes = powers.astype(layout.dtype)
    return weights


def _unpack_rows(rows: list[bytes], layout: CodeLayout) -> Codes:
    return unpack(np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), layout.num_bytes), layout)


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return f"a value of type {type(value).__name__}"
    return repr(value if len(value) <= 40 else value[:37] + "...") + f" of length {len(value)}"
