"""The protocol's names of element types, and the numpy types they are.

`BYTES`, variable-length elements, is the one datatype of the protocol that no tensor here has.
"""

from typing import Any

import numpy as np

DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
"""Little-endian, as the bytes of the binary tensor data extension are."""

INTEGERS = tuple(name for name in DATATYPES if name.startswith(("UINT", "INT")))
FLOATS = tuple(name for name in DATATYPES if name.startswith("FP"))

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}


def datatype_of(dtype: np.dtype[Any]) -> str:
    """`float32` to `FP32`. Inverse of `DATATYPES`. Raises KeyError for a type that is no tensor's."""
    return _NAMES[dtype.newbyteorder("<")]
