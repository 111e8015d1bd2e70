"""One request and its answer, as the edge and the routes behind it see them. Costs next to nothing to make."""

from functools import cached_property
from typing import NamedTuple

from starlette.types import Receive, Scope


class Exchange:
    """A request of which nothing but the head has been read."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.request_id: str = scope["state"]["request_id"]
        self.deadline: float | None = scope["state"].get("deadline")
        """When an answer is of no use any more, in seconds of `time.monotonic()`."""

    @cached_property
    def _headers(self) -> dict[bytes, bytes]:
        return dict(self.scope["headers"])

    def header(self, name: bytes) -> str:
        """The value of a header, whose name is in lower case; empty where it was not sent."""
        return self._headers.get(name, b"").decode("latin-1")


class Answer(NamedTuple):
    """What is sent back."""

    content: bytes
    media_type: str
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
