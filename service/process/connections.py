"""One connection: uvicorn's HTTP/1.1 protocol, with the bounds that it lacks.

Uvicorn waits for ever for the rest of a request and takes headers of any size. Here a request must have arrived whole
within `receipt_seconds` of its first byte (the first one of a connection: of its opening), its head within
`max_head_bytes`; a reply that nobody reads holds its connection no longer than that either, and all of them together no
more than `max_unsent_bytes`; and a worker has at most `max_connections`. No request pays for a timer of its own: `tidy`
looks at every connection, twice a second.

Requests that have a direct route are answered here, without the application (`service.process.direct`).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

import httptools
import orjson
import uvicorn
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.edge import Reply
from service.process.direct import Begun, DirectAnswers, DirectCycle
from service.process.eager import run_eagerly

_MAX_SURPLUS_BYTES = 64 << 20

_logger = logging.getLogger(__name__)


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
        self,
        app: Any,
        bounds: Bounds,
        *,
        direct: DirectAnswers | None = None,
        on_refused: Callable[[str], None] = lambda _cause: None,
        **options: Any,
    ) -> None:
        """`direct` answers what it has a route for; `on_refused` hears of each request that ends here, before anybody
        else sees it, with a word for why.
        """
        super().__init__(app, http=Connection, ws="none", **options)
        self.bounds = bounds
        self.direct = direct
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
        self._to_begin: Begun | None = None
        """A direct request whose head came with the bytes that are being read."""

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
        if (begun := self._to_begin) is not None:
            # Not before: mostly all of the body came with the head.
            self._to_begin = None
            self._begin(begun)

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
        if (begun := self._direct()) is not None:
            self._to_begin = begun
            self.cycle = begun.cycle  # type: ignore[assignment]  # it stands in for uvicorn's
        else:
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
        if isinstance(self.cycle, DirectCycle):
            self.cycle.add(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """All of the request is here."""
        self._arriving_since = None
        self._in_head, self._head_bytes = True, 0
        if self.cycle is not None and not self.transport.is_closing():
            super().on_message_complete()

    def long_body_complete(self) -> None:
        """As if the parser had seen the rest of a body. It did not, so there has to be a new one."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.on_message_complete()

    def on_response_complete(self) -> None:
        """From here on the connection is idle, or the next of several requests that were sent at once has its turn.

        As uvicorn's, without a timer for each reply: `tidy` finds what has been idle for too long.
        """
        self._idle_since = time.monotonic()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller left: what was not begun for him need not be."""
        super().connection_lost(exc)
        if isinstance(self.cycle, DirectCycle):
            self.cycle.forget_body()
            if self.cycle.task is not None:
                self.cycle.task.cancel()

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
        if self._arriving_since is None:
            self.close_if_idle(self.config.timeout_keep_alive)
        if self.num_unsent_bytes == 0:
            self.stuck_since = now
        elif now - self.stuck_since > limit:
            self.give_reply_up()

    def _direct(self) -> Begun | None:
        """Of the request whose head is complete, where a direct route answers it: a plain one, which waits for no
        other.
        """
        direct, parser = self.config.direct, self.parser
        if direct is None or parser.get_method() != b"POST" or parser.get_http_version() != "1.1":
            return None
        if self._is_busy() or parser.should_upgrade():
            return None
        scope: Any = self.scope
        begun = direct.begun(scope, self.url, self.transport)
        if begun is not None:
            begun.cycle.keep_alive = parser.should_keep_alive()
            begun.cycle.expects_continue = self.expect_100_continue
        return begun

    def _begin(self, begun: Begun) -> None:
        """Answer, at once where nothing has to be waited for."""
        direct = self.config.direct
        assert direct is not None
        if self.transport.is_closing():
            return
        cycle = begun.cycle
        cycle.begin(begun.exchange)
        answer = direct.answer(begun.exchange, begun.route)
        task = run_eagerly(answer, partial(self._reply, cycle), self.loop)
        if task is not None:
            cycle.task = task
            self.tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        if isinstance(self.cycle, DirectCycle) and self.cycle.task is task:
            # What it raised refers to this connection, and to the body.
            self.cycle.task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            # The edge answers whatever a route raises, unless nobody is there to read it.
            if not isinstance(error, ClientDisconnect):
                _logger.error("a request could not be answered; this is a bug", exc_info=error)
            self.transport.close()

    def _reply(self, cycle: DirectCycle, reply: Reply) -> None:
        if self.transport.is_closing():
            return
        cycle.send(reply, self.server_state.default_headers)
        self.on_response_complete()

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
