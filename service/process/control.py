"""Telling every worker process something, and hearing what each answered.

    control.handle("load", load)                          # at start: what this worker does when it is told
    answers = await control.tell_all("load", {"model": "m"}, remember_as="model m")

Whichever worker takes an administrator's request tells all, itself included, and gets the answer of each. What is said
with `remember_as` is also told, by the supervisor, to every worker that starts later, before it serves: the last one of
each name, in the order of telling. So a worker that replaces another one knows what that one knew.

Arguments and results are JSON objects. The two kinds of Control are `Alone`, for an application in a process without a
supervisor (a test, a script), and `Channel`, a worker's end of the socket pair to its supervisor, which carries one
JSON document a line.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from service.errors import ServiceError

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

MAX_LINE_BYTES = 1 << 20
ANSWER_SECONDS = 60.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What one worker answered. `error` is None when it did what it was told; its text is safe to show."""

    slot: int
    result: dict[str, Any]
    error: str | None = None


class Control(Protocol):
    """What the service knows of the other workers."""

    def handle(self, name: str, handler: Handler) -> None:
        """Do this when told `name`. ServiceErrors become the `error` of the answer; others are logged as bugs."""

    async def tell_all(
        self, name: str, arguments: dict[str, Any], *, remember_as: str | None = None, timeout: float = ANSWER_SECONDS
    ) -> list[Answer]:
        """The answers of all workers there are, by slot. One that dies meanwhile, or takes longer than `timeout`
        seconds, answers with an error.
        """


class _Handlers:
    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def handle(self, name: str, handler: Handler) -> None:
        """As Control says."""
        self._handlers[name] = handler

    async def _do(self, slot: int, name: str, arguments: dict[str, Any]) -> Answer:
        handler = self._handlers.get(name)
        if handler is None:
            return Answer(slot, {}, f"nothing here is called {name}")
        try:
            return Answer(slot, await handler(arguments))
        except ServiceError as error:
            return Answer(slot, {}, str(error))
        except Exception:  # the worker must go on serving
            _logger.exception("what all workers were told failed here: %s; this is a bug", name)
            return Answer(slot, {}, "it failed; the log says why")


class Alone(_Handlers):
    """The control of a process that is the only one."""

    async def tell_all(
        self,
        name: str,
        arguments: dict[str, Any],
        *,
        remember_as: str | None = None,  # noqa: ARG002 - there is nobody to remember it for
        timeout: float = ANSWER_SECONDS,
    ) -> list[Answer]:
        """As Control says."""
        async with asyncio.timeout(timeout):
            return [await self._do(0, name, arguments)]


class Channel(_Handlers):
    """A worker's end. `listen` reads until the supervisor closes its end or ends."""

    def __init__(self, connection: socket.socket, slot: int) -> None:
        super().__init__()
        self._connection = connection
        self.slot = slot
        self._writer: asyncio.StreamWriter | None = None
        self._told: dict[int, asyncio.Future[list[Answer]]] = {}
        self._last = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.caught_up = asyncio.Event()
        """Set once this worker knows what the others were told before."""
        self.adopted: asyncio.Queue[tuple[int, bool]] = asyncio.Queue()
        """Slots that this worker should accept for, besides its own, and those that it should no longer."""
        self._stop = asyncio.Event()
        self._delay = 0.0

    async def listen(self) -> None:
        """Answer what comes until the connection ends."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._connection, limit=MAX_LINE_BYTES)
        try:
            while line := await reader.readline():
                await self._heard(json.loads(line))
        finally:
            self._writer.close()

    async def _heard(self, message: dict[str, Any]) -> None:
        match message["kind"]:
            case "hello":
                await self._catch_up(message["remembered"])
            case "tell":
                self._spawn(self._answer(message))
            case "told":
                answers = [Answer(**answer) for answer in message["answers"]]
                if (future := self._told.pop(message["id"], None)) and not future.done():
                    future.set_result(answers)
            case "adopt":
                self.adopted.put_nowait((message["slot"], message["accept"]))
            case "stop":
                self.stop(message["delay"])

    def stop(self, delay: float) -> None:
        """Have `told_to_stop` return; the first one counts."""
        if not self._stop.is_set():
            self._delay = delay
            self._stop.set()

    async def told_to_stop(self) -> float:
        """Wait until this worker should stop; the result is how many seconds it should go on accepting before."""
        await self._stop.wait()
        return self._delay

    async def _catch_up(self, remembered: list[dict[str, Any]]) -> None:
        for message in remembered:
            answer = await self._do(self.slot, message["name"], message["arguments"])
            if answer.error is not None:
                _logger.error("what workers were told before could not be repeated: %s", answer.error)
        self.caught_up.set()

    def say(self, **message: Any) -> None:
        """Send one message; nothing waits for its arrival."""
        line = json.dumps(message).encode() + b"\n"
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"a message of {len(line)} bytes; at most {MAX_LINE_BYTES} pass")
        if self._writer is None:
            self._connection.sendall(line)
        elif not self._writer.is_closing():
            self._writer.write(line)

    async def tell_all(
        self, name: str, arguments: dict[str, Any], *, remember_as: str | None = None, timeout: float = ANSWER_SECONDS
    ) -> list[Answer]:
        """As Control says. The supervisor counts the seconds."""
        self._last += 1
        future = self._told[self._last] = asyncio.get_running_loop().create_future()
        self.say(
            kind="tell_all", id=self._last, name=name, arguments=arguments, remember_as=remember_as, timeout=timeout
        )
        answers: list[Answer] = await future
        return answers

    async def _answer(self, message: dict[str, Any]) -> None:
        answer = await self._do(self.slot, message["name"], message["arguments"])
        self.say(kind="answer", id=message["id"], result=answer.result, error=answer.error)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
