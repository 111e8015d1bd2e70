"""What can be given as inputs and as codes, told apart: arrays, images, files, and iterables of them."""

import io
import os
import sys
from collections.abc import AsyncIterable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latent_codes_client import arrays
from latent_codes_client.arrays import CodeFormat
from latent_codes_client.chunks import Piece
from latent_codes_client.errors import InvalidArgument


class PilImage(Protocol):
    """An image of Pillow."""

    mode: str
    size: tuple[int, int]

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:  # noqa: A002 - Pillow's name
        """Write it to a file."""
        ...


Item = ArrayLike | PilImage | os.PathLike[str]
Inputs = Item | Iterable[Item] | AsyncIterable[Item]
"""Rows: an array; an image of Pillow; the path of an image or a `.npy` file; an iterable of these or of single rows."""
GivenCodes = ArrayLike | Sequence[str] | os.PathLike[str] | Iterable[ArrayLike] | AsyncIterable[ArrayLike]
"""Codes: an array, strings, the path of a `.npy` file; or an iterable of single codes or arrays of them."""


@dataclass(frozen=True)
class Given:
    """Items in order, and what is known of them."""

    items: Iterable[Any] | AsyncIterable[Any]
    num_rows: int | None
    is_stream: bool = False
    """Whether an item may be a single row as well as a batch, so that the model's shape must be known."""


def inputs(values: Inputs) -> Given:
    """Tell inputs apart, without reading any."""
    if _is_one_file(values) or isinstance(values, str):
        return Given([values], None)
    if isinstance(values, AsyncIterable):
        return Given(values, None, is_stream=True)
    if isinstance(values, list | tuple) and values and (_is_one_file(values[0]) or isinstance(values[0], str)):
        return Given(values, None)
    if _is_array(values):
        found = arrays.array("inputs", values)  # type: ignore[arg-type]  # what else it might be was found above
        return Given([found], len(found) if found.ndim else None)
    return Given(values, None, is_stream=True)  # type: ignore[arg-type]


def codes(values: GivenCodes, code_format: CodeFormat) -> Given:
    """Tell codes apart, without reading any."""
    if isinstance(values, os.PathLike):
        return Given([values], None)
    if isinstance(values, AsyncIterable):
        return Given(values, None, is_stream=True)
    if _is_array(values) or isinstance(values, str):
        found = arrays.codes(values, code_format)  # type: ignore[arg-type]
        return Given([found], len(found))
    return Given(values, None, is_stream=True)  # type: ignore[arg-type]


def input_pieces(item: Any, position: int, row_shape: tuple[int, ...] | None) -> Iterator[Piece]:
    """An item of inputs as pieces; `row_shape` is the model's, where the item may be a row. Raises InvalidArgument."""
    if isinstance(item, bytes | bytearray):
        yield Piece(image=bytes(item))
    elif _is_pil(item):
        yield Piece(image=_as_png(item, position))
    elif isinstance(item, str | os.PathLike):
        yield _file(Path(item))
    elif row_shape is None:
        yield Piece(arrays.rows("inputs", item))
    else:
        yield Piece(arrays.rows("inputs", _batch(item, position, row_shape)))


def code_pieces(item: Any, position: int, code_format: CodeFormat) -> Iterator[Piece]:
    """An item of codes as a piece. Raises InvalidArgument."""
    if isinstance(item, os.PathLike):
        yield Piece(arrays.codes(_load(Path(item)), code_format), name=str(Path(item)))
        return
    found = arrays.array("codes", item)
    num_axes = 2 if code_format == "indices" else 1
    if found.ndim not in (num_axes - 1, num_axes):
        raise InvalidArgument(f"codes: item {position}: expected a code or an array of them, got {_shown(found)}")
    # An array that was given whole was checked before it came here, and this costs no more than a look at its dtype.
    yield Piece(arrays.codes(found if found.ndim == num_axes else found[None], code_format))


def relaxed(values: ArrayLike) -> Given:
    """Relaxed codes, [B, *latent]."""
    found = arrays.rows("relaxed", values)
    return Given([found], len(found))


def relaxed_pieces(item: NDArray[Any], position: int) -> Iterator[Piece]:  # noqa: ARG001 - there is one item
    """The array as it is."""
    yield Piece(item)


def _batch(item: Any, position: int, row_shape: tuple[int, ...]) -> NDArray[Any]:
    found = arrays.array("inputs", item)
    shapes = (row_shape, (int(np.prod(row_shape)),))
    if found.shape in shapes:
        return found[None]
    if found.ndim and found.shape[1:] in shapes:
        return found
    expected = " or ".join(str(list(shape)) for shape in dict.fromkeys(shapes))
    raise InvalidArgument(
        f"inputs: item {position}: expected a row of shape {expected}, or an array of rows, got {_shown(found)}"
    )


def _file(path: Path) -> Piece:
    if path.suffix.lower() == ".npy":
        return Piece(arrays.rows("inputs", _load(path)), name=str(path))
    try:
        content = path.read_bytes()
    except IsADirectoryError:
        raise InvalidArgument(
            f"{path}: expected a file, got a folder; its files are sorted(Path(...).iterdir())"
        ) from None
    except OSError as error:
        raise InvalidArgument(f"{path}: cannot be read: {error.strerror}") from error
    if not content:
        raise InvalidArgument(f"{path}: expected an image, the file is empty (0 bytes)")
    if content.startswith(b"\x93NUMPY"):
        return Piece(arrays.rows("inputs", _load(path)), name=str(path))
    return Piece(image=content, name=str(path))


def _load(path: Path) -> NDArray[Any]:
    """Mapped: of a file larger than the memory only what is being sent is read."""
    try:
        # No pickle: it would run whatever the file says.
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InvalidArgument(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise InvalidArgument(f"{path}: expected a .npy file: {error}") from error
    return found


def _as_png(image: Any, position: int) -> bytes:
    """Without a loss, and still saying which way is up."""
    if image.mode in ("CMYK", "YCbCr", "HSV", "LAB"):
        image = image.convert("RGB")
    buffer = io.BytesIO()
    try:
        image.save(buffer, format="PNG", exif=image.getexif())
    except (OSError, ValueError) as error:
        raise InvalidArgument(
            f"inputs: item {position}: an image of mode {image.mode!r} cannot be sent: {error}"
        ) from error
    return buffer.getvalue()


def _is_one_file(value: Any) -> bool:
    return isinstance(value, os.PathLike | bytes | bytearray) or _is_pil(value)


def _is_pil(value: Any) -> bool:
    """Whoever has an image of Pillow has imported it."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def _is_array(value: Any) -> bool:
    """Arrays, tensors, nested lists and numbers; not what is read item by item."""
    return (
        isinstance(value, list | tuple | np.ndarray) or hasattr(value, "__array__") or not isinstance(value, Iterable)
    )


def _shown(found: NDArray[Any]) -> str:
    return arrays.described(found)
