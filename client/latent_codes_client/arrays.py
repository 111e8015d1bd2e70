"""Arrays that a service could accept, and what is wrong with others.

What only the model knows (how many values an input has, in which range) is the service's to say.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latent_codes_client.errors import InvalidArgument

CodeFormat = Literal["indices", "hex", "base64"]


def rows(name: str, values: ArrayLike) -> NDArray[Any]:
    """Rows of real numbers, [B, ...] with B at least 1; the numbers themselves are not looked at."""
    found = array(name, values)
    if found.dtype.kind not in "fiub":
        raise InvalidArgument(f"{name}: expected an array of real numbers, got {described(found)}")
    if found.ndim < 2:
        raise InvalidArgument(
            f"{name}: expected rows, [B, ...], got {described(found)}; a single one is given as {name}[None]"
        )
    require_rows(name, found)
    return found


def sendable(name: str, found: NDArray[Any], start: int) -> NDArray[Any]:
    """Rows from number `start` on as they travel: finite, and of a dtype that is the same everywhere."""
    if found.dtype.kind == "b":
        return found.astype(np.uint8)
    if found.dtype.itemsize > 8:  # long doubles
        found = found.astype(np.float64)
    if not np.isfinite(found).all():
        row, *place = (int(axis) for axis in np.argwhere(~np.isfinite(found))[0])
        raise InvalidArgument(f"{name}: expected finite numbers, got {found[(row, *place)]} at {[start + row, *place]}")
    return found


def codes(values: ArrayLike | Sequence[str], code_format: CodeFormat) -> NDArray[Any]:
    """Integers [B, N], or strings [B] if the format says so."""
    found = array("codes", values)
    if code_format == "indices":
        expected, kinds, num_axes = "integers [B, N] (strings go with code_format 'hex' or 'base64')", "iub", 2
    else:
        expected, kinds, num_axes = f"strings [B], as code_format is {code_format!r}", "U", 1
    if found.dtype.kind not in kinds or found.ndim != num_axes:
        raise InvalidArgument(f"codes: expected {expected}, got {described(found)}")
    require_rows("codes", found)
    return found


def array(name: str, values: ArrayLike | Sequence[str]) -> NDArray[Any]:
    """Anything that numpy makes an array of."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        # Rows of different lengths, or a tensor that is not in this computer's memory.
        raise InvalidArgument(f"{name}: expected an array: {error}") from error


def require_rows(name: str, found: NDArray[Any]) -> None:
    """Raise InvalidArgument when there is none."""
    if len(found) == 0:
        raise InvalidArgument(f"{name}: expected at least one row, got {described(found)}")


def described(found: NDArray[Any]) -> str:
    """Its dtype and shape."""
    return f"{found.dtype} of shape {list(found.shape)}"


def number(name: str, value: float) -> float:
    """A finite one."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgument(f"{name}: expected a number, got {value!r:.60}") from None
    if not math.isfinite(found):
        raise InvalidArgument(f"{name}: expected a finite number, got {found}")
    return found


def integer(name: str, value: int) -> int:
    """Exactly one: no float, no boolean."""
    if isinstance(value, bool | np.bool_):
        raise InvalidArgument(f"{name}: expected an integer, got {value}")
    try:
        return operator.index(value)
    except TypeError:
        raise InvalidArgument(f"{name}: expected an integer, got {value!r:.60}") from None
