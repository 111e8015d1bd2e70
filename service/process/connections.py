"""One connection: uvicorn's HTTP/1.1 protocol, with the bounds that it lacks.

Uvicorn waits for ever for the rest of a request and takes headers of any size. Here a request must have arrived whole
within `receipt_seconds` of its first byte (the first one of a connection: of its opening), its head within
`max_head_bytes`; a reply that nobody reads holds its connection no longer than that either, and all of them together no
more than `max_unsent_bytes`; and a worker has at most `max_connections`. No request pays for a timer of its own: `tidy`
looks at every connection, twice a second.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MAX_SURPLUS_BYTES = 64 << 20


@dataclass(frozen=True)
class Bounds:
    """What one connection, and all of a worker, may take."""

    receipt_seconds: float
    max_head_bytes: int
    max_headers: int
    max_connections: int
    max_unsent_bytes: int


class Config(uvicorn.Config):
    """Uvicorn's, with what a Connection needs to know. The server's state is kept here because both see it."""

    def __init__(
        self, app: Any, bounds: Bounds, *, on_refused: Callable[[str], None] = lambda _cause: None, **options: Any
    ) -> None:
        """`on_refused` hears of each request that ends here, before the application sees it, with a word for why."""
        super().__init__(app, http=Connection, ws="none", **options)
        self.bounds = bounds
        self.on_refused = on_refused
        self.draining = False


class Connection(HttpToolsProtocol):
    """Counts from the first byte of a request to its last."""

    config: Config

    def __init__(self, config: Config, *args: Any, **kwargs: Any) -> None:
        """As uvicorn makes its own."""
        super().__init__(config, *args, **kwargs)
        self._arriving_since: float | None = None
        """When the first byte of what is arriving came; None while nothing is."""
        self._idle_since = 0.0
        self.stuck_since = 0.0
        """When there was last nothing left to send, by `tidy`."""
        self._in_head = True
        self._head_bytes = 0
        self._surplus_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock starts, and the number of connections is counted."""
        super().connection_made(transport)
        self._arriving_since = self._idle_since = self.stuck_since = time.monotonic()
        if len(self.connections) > self.config.bounds.max_connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "connections", "too many connections are open")

    def data_received(self, data: bytes) -> None:
        """Some bytes: of a head only so many."""
        if self._arriving_since is None:
            self._arriving_since = time.monotonic()
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > self.config.bounds.max_head_bytes:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._surplus_bytes = 0
        if self._arriving_since is None:
            self._arriving_since = time.monotonic()

    def on_headers_complete(self) -> None:
        """The head is complete. A draining connection ends with the reply to it."""
        self._in_head = False
        if len(self.headers) > self.config.bounds.max_headers:
            self._refuse_head()
            return
        super().on_headers_complete()
        if self.config.draining and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """What comes after the reply is dropped, so that a client that sends all before it reads finds the reply; but
        not without end.
        """
        if self.cycle is None or self.transport.is_closing():
            return
        if self.cycle.response_complete:
            self._surplus_bytes += len(body)
            if self._surplus_bytes > _MAX_SURPLUS_BYTES:
                self.config.on_refused("body-after-reply")
                self.transport.abort()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of the request is here."""
        self._arriving_since = None
        self._in_head, self._head_bytes = True, 0
        if self.cycle is not None and not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """From here on the connection is idle."""
        self._idle_since = time.monotonic()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - its text is ours
        """Uvicorn's answer to what is not HTTP, as a problem."""
        self._refuse(HTTPStatus.BAD_REQUEST, "malformed-http", "the request is not valid HTTP/1.1")

    def drain(self) -> None:
        """Ask the caller, with the reply that is due, to connect anew; later ones find that the server drains."""
        if self._is_busy():
            self.cycle.keep_alive = False

    def close_if_idle(self, seconds: float) -> None:
        """Close when nothing is asked or arriving, and nothing has been for `seconds`."""
        if not self._is_busy() and time.monotonic() - self._idle_since >= seconds:
            self.transport.close()

    def tidy(self, now: float) -> None:
        """End what takes too long to arrive, or to be taken. `now` is of `time.monotonic`."""
        limit = self.config.bounds.receipt_seconds
        if self._arriving_since is not None and now - self._arriving_since > limit:
            self._arriving_since = None
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "receipt", f"the request did not arrive within {limit:g} seconds")
        if self.num_unsent_bytes == 0:
            self.stuck_since = now
        elif now - self.stuck_since > limit:
            self.give_reply_up()

    @property
    def num_unsent_bytes(self) -> int:
        """What has been written and was not taken."""
        return self.transport.get_write_buffer_size()

    def give_reply_up(self) -> None:
        """End a connection whose reply is not taken, and forget what was to be sent."""
        self.config.on_refused("reply-not-taken")
        self.transport.abort()

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse_head(self) -> None:
        bounds = self.config.bounds
        self._refuse(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head-too-large",
            f"expected at most {bounds.max_headers} headers and {bounds.max_head_bytes} bytes before the body",
        )

    def _refuse(self, status: HTTPStatus, cause: str, detail: str) -> None:
        """Answer, where no answer has begun, and close."""
        if self.transport.is_closing():
            return
        self.config.on_refused(cause)
        # Where several requests were sent at once, an answer now would be taken for that of an earlier one.
        if not self._is_busy() or not (self.cycle.response_started or self.pipeline):
            body = orjson.dumps(
                {
                    "type": f"urn:latent-codes:problem:{cause}",
                    "title": "The request was not received",
                    "status": status.value,
                    "detail": detail,
                }
            )
            retry = b"retry-after: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else b""
            self.transport.write(
                b"HTTP/1.1 %d %s\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n%s"
                b"connection: close\r\n\r\n%s" % (status.value, status.phrase.encode(), len(body), retry, body)
            )
        self.transport.close()
