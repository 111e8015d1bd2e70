"""Arrays as bytes: npy, and little-endian float32 rows one after the other. Both are read where they lie, uncopied."""

import math
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from service.checks import row_expected
from service.errors import MalformedArray, invalid, shown
from service.exchange import Content

_MAX_HEADER_BYTES = 4096
_NUMBERS = "iuf"
_FLOAT32 = np.dtype("<f4")


def read_rows(content: Content, field: str, row_shape: Sequence[int]) -> NDArray[np.float32]:
    """Rows [B, D] of little-endian float32. Raises InvalidFields unless whole rows came, and one at least."""
    row_bytes = math.prod(row_shape) * _FLOAT32.itemsize
    if not content or len(content) % row_bytes:
        expected = (
            f"one or more rows of shape {row_expected(row_shape)} as little-endian float32, {row_bytes} bytes each"
        )
        raise invalid(field, expected, f"{len(content)} bytes")
    return np.frombuffer(content, _FLOAT32).reshape(-1, math.prod(row_shape))


def read_npy(content: Content) -> NDArray[Any]:
    """The array of an npy file (numpy's format, versions 1 and 2): integers or floats, never objects.

    Raises MalformedArray.
    """
    if content[:6] != npy_format.MAGIC_PREFIX or len(content) < 12:
        raise MalformedArray("the body is not an npy file: it does not begin as one")
    length_bytes = 2 if content[6] == 1 else 4
    start = 8 + length_bytes + int.from_bytes(content[8 : 8 + length_bytes], "little")
    if start > _MAX_HEADER_BYTES:
        raise MalformedArray(
            f"the npy header is too long: expected at most {_MAX_HEADER_BYTES} bytes, received {start}"
        )
    shape, is_fortran, dtype = _read_header(bytes(content[:start]))
    size_bytes = math.prod(shape) * dtype.itemsize
    if not size_bytes:
        raise MalformedArray(f"expected an npy file of at least one number, received the shape {list(shape)}")
    if len(content) - start != size_bytes:
        raise MalformedArray(
            f"expected {size_bytes} bytes after the npy header for {dtype} of shape {list(shape)}, "
            f"received {len(content) - start}"
        )
    array = np.frombuffer(content, dtype, offset=start)
    return array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)


@lru_cache(maxsize=256)
def _read_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the first axis is the fastest, and dtype. Cached, since one caller's headers are alike."""
    stream = BytesIO(header)
    try:
        version = npy_format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise MalformedArray(f"expected version 1.0 or 2.0 of the npy format, received {version[0]}.{version[1]}")
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, is_fortran, dtype = read(stream)
    except MalformedArray:
        raise
    except Exception as error:  # numpy's parser lets pass what ast and tokenize raise
        raise MalformedArray("the npy header cannot be read") from error
    if dtype.kind not in _NUMBERS or dtype.itemsize > 8:
        raise MalformedArray(f"expected an npy file of integers or floats, received {shown(str(dtype))}")
    if any(length < 0 for length in shape):
        raise MalformedArray(f"expected a shape, received {list(shape)}")
    return shape, is_fortran, dtype


def write_npy(array: NDArray[Any]) -> bytes:
    """The array as an npy file, version 1.0. Inverse of `read_npy`."""
    array = np.ascontiguousarray(array)
    return _write_header(array.shape, array.dtype.str) + array.tobytes()


@lru_cache(maxsize=256)
def _write_header(shape: tuple[int, ...], dtype: str) -> bytes:
    stream = BytesIO()
    npy_format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()
