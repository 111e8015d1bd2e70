"""A body with binary tensors: JSON first, then the bytes of each tensor in the order the JSON names them.

The header Inference-Header-Content-Length says where the JSON ends. Whatever it claims, nothing is read beyond the
body, and every byte of the body must be accounted for.
"""

from collections.abc import Sequence

from service.errors import invalid, quoted, shown
from service.exchange import Content

HEADER = "Inference-Header-Content-Length"
_MAX_DIGITS = 18


def split(body: Content, header_values: Sequence[str]) -> tuple[bytes, memoryview]:
    """The JSON and what follows it, which is empty where there is no such header. Raises InvalidFields."""
    if not header_values:
        return bytes(body), memoryview(b"")
    expected = f"a number of bytes from 0 to {len(body)}, the length of the body"
    if len(set(header_values)) > 1:
        raise invalid(HEADER, expected, f"{len(header_values)} values that differ")
    text = header_values[0].strip()
    if not (text.isascii() and text.isdecimal()):
        raise invalid(HEADER, expected, quoted(text))
    if len(text) > _MAX_DIGITS or int(text) > len(body):
        raise invalid(HEADER, expected, quoted(text))
    length = int(text)
    return bytes(body[:length]), memoryview(body)[length:]


class Tail:
    """The bytes after the JSON, handed out tensor by tensor."""

    def __init__(self, content: memoryview) -> None:
        self._rest = content

    def take(self, field: str, size: int) -> memoryview:
        """The next `size` bytes. Raises InvalidFields when there are fewer."""
        if size > len(self._rest):
            raise invalid(
                f"{field}.parameters.binary_data_size",
                f"at most the {len(self._rest)} bytes that follow",
                shown(size),
            )
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def close(self) -> None:
        """Raises InvalidFields when bytes are left that belong to no tensor."""
        if len(self._rest):
            raise invalid("body", "no bytes after those of the tensors", f"{len(self._rest)} more")
