"""Load on a running service: callers that keep asking, and compare every answer with what it has to be."""

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from service_process import ServiceProcess


class Asked(NamedTuple):
    """A request and the part of its reply that is known beforehand."""

    path: str
    body: bytes
    expected: dict[str, Any]


class Load:
    """`num_callers` threads, each asking one request after the other over a connection that it keeps.

    Outcomes are counted by name: "right"; "wrong", an answer of 200 that is not the expected one; "lost", a connection
    that ended without an answer; "refused", one that was not made; and the status of any other answer.
    """

    def __init__(self, service: ServiceProcess, asked: Sequence[Asked], *, num_callers: int = 4) -> None:
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._service = service
        self._asked = asked
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(num_callers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a caller was never answered"

    def wait_for(self, num_right: int, *, seconds: float = 60) -> None:
        """Until so many more right answers came."""
        wanted = self.outcomes["right"] + num_right
        deadline = time.monotonic() + seconds
        while self.outcomes["right"] < wanted:
            assert time.monotonic() < deadline, f"no more answers: {self.outcomes}"
            time.sleep(0.01)

    def _call(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._service.port, timeout=60)
        for turn in itertools.count(number):
            if self._ending.is_set():
                break
            outcome = self._ask(connection, self._asked[turn % len(self._asked)])
            with self._lock:
                self.outcomes[outcome] += 1
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, asked: Asked) -> str:
        try:
            if connection.sock is None:
                connection.connect()
        except OSError:
            time.sleep(0.01)
            return "refused"
        try:
            connection.request("POST", asked.path, asked.body, {"Content-Type": "application/json"})
            with connection.getresponse() as reply:
                content = reply.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return "lost"
        if reply.status != 200:
            return str(reply.status)
        found = json.loads(content)
        if any(found[name] != value for name, value in asked.expected.items()):
            self.wrong.append(f"{asked.path}: expected {asked.expected}, got {found}")
            return "wrong"
        return "right"
