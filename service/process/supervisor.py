"""The supervisor: keeps one worker serving each slot, and passes on what it is told.

SIGTERM ends the service in order: workers become not ready, go on for `drain_seconds`, finish what they have, and are
killed after `grace_seconds`. SIGINT does the same without the delay. SIGHUP replaces the workers one after the other:
each ends only once its successor serves the same socket, so no request is lost; when a successor cannot start, the old
worker stays and the log says why.

A worker that dies is replaced at once, and with growing pauses when its successors die young; until its successor
serves, another worker accepts from its socket. Before the first worker
of the service served, there is nothing to keep alive: a start that is refused, or a death, ends everything.

One thread, no event loop of anybody else's, nothing imported that computes: what watches must not fail with what it
watches.
"""

import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from service.errors import StartRefused
from service.observation.arena import Arena
from service.process.board import Board
from service.process.control import MAX_LINE_BYTES
from service.process.listeners import begin_no_more

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_YOUNG_SECONDS = 10.0
"""A worker that dies before this age is held back by the next pause."""
_PAUSES_SECONDS = (0.0, 0.25, 1.0, 2.0, 5.0, 10.0)

_WITHOUT_PLUGINS = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}
"""Looking for plugins of pydantic means reading what every installed distribution says of itself."""

_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Worker:
    process: "subprocess.Popen[bytes]"
    slot: int
    place: int
    channel: socket.socket
    started: float
    received: bytearray = field(default_factory=bytearray)
    serves: bool = False
    retires: bool = False
    """It was told to stop; its end is no accident."""
    refusal: str | None = None
    kill_at: float | None = None


@dataclass
class _Question:
    """Something that all workers were told and that some have not answered."""

    asker: _Worker
    number: int
    deadline: float
    waiting: set[int]
    """Places."""
    answers: list[dict[str, Any]] = field(default_factory=list)


class Supervisor:
    """Runs in the main thread of its process."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        board: Board,
        arena: Arena,
        *,
        drain_seconds: float,
        grace_seconds: float,
    ) -> None:
        """`drain_seconds`: how long to go on accepting after SIGTERM; `grace_seconds`: how long the end may take."""
        self._listeners = list(listeners)
        self._board = board
        self._arena = arena
        self._drain_seconds = drain_seconds
        self._grace_seconds = grace_seconds
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        self._signals: deque[int] = deque()
        self._due: dict[int, float] = {}
        """When to start a worker for a slot that has none."""
        self._adopters: dict[int, _Worker] = {}
        """Who accepts for a slot whose worker is gone."""
        self._deaths = [0] * board.num_slots
        self._to_restart: deque[int] = deque()
        self._ever_served = False
        self._stopped_by: int | None = None
        self._close_listeners_at: float | None = None
        self._remembered: dict[str, dict[str, Any]] = {}
        self._questions: dict[int, _Question] = {}
        self._last_question = 0

    def run(self) -> int:
        """Serve until told to stop; the result is the exit status. Raises StartRefused."""
        waker, woken = socket.socketpair()
        for end in (waker, woken):
            end.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ)
        before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        wakeup_before = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        try:
            for slot in range(self._board.num_slots):
                self._start(slot)
            while self._workers or self._stopped_by is None:
                self._wait(woken)
                self._turn()
            return 130 if self._stopped_by == signal.SIGINT else 0
        finally:
            self._kill_all()
            signal.set_wakeup_fd(wakeup_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            waker.close()
            woken.close()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _wait(self, woken: socket.socket) -> None:
        """Until something happens or is due."""
        due = [*self._due.values(), *(question.deadline for question in self._questions.values())]
        due += [worker.kill_at for worker in self._workers if worker.kill_at is not None]
        if self._close_listeners_at is not None:
            due.append(self._close_listeners_at)
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        for key, _ in self._selector.select(timeout):
            if key.fileobj is woken:
                while _received(woken):
                    pass
            else:
                self._read(key.data)

    def _turn(self) -> None:
        while self._signals:
            match self._signals.popleft():
                case signal.SIGTERM | signal.SIGINT as number:
                    self._stop(number)
                case signal.SIGHUP:
                    self._restart_all()
        for worker in list(self._workers):
            if worker.process.poll() is not None:
                self._bury(worker)
        now = time.monotonic()
        for worker in self._workers:
            if worker.kill_at is not None and now >= worker.kill_at:
                _logger.error("worker %d did not end within its grace period and is killed", worker.process.pid)
                worker.process.kill()
                worker.kill_at = None
        if self._close_listeners_at is not None and now >= self._close_listeners_at:
            self._close_listeners()
        for slot in [slot for slot, due in self._due.items() if now >= due]:
            del self._due[slot]
            self._start(slot)
        for number in [number for number, question in self._questions.items() if now >= question.deadline]:
            self._conclude(number, "it did not answer in time")

    # Starting and ending workers.

    def _start(self, slot: int) -> None:
        taken = {worker.place for worker in self._workers}
        place = next(place for place in range(self._board.num_places) if place not in taken)
        here, there = socket.socketpair()
        given: dict[str, Any] = {
            "slot": slot,
            "place": place,
            "listeners": [listener.fileno() for listener in self._listeners],
            "board": self._board.descriptor,
            "arena": self._arena.descriptor,
            "control": there.fileno(),
        }
        options = [f"-W{option}" for option in sys.warnoptions]
        process = subprocess.Popen(  # noqa: S603 - this interpreter and this package
            [sys.executable, *options, "-m", "service.process.worker", json.dumps(given)],
            pass_fds=(*given["listeners"], given["board"], given["arena"], given["control"]),
            env=_WITHOUT_PLUGINS | os.environ,
        )
        there.close()
        here.setblocking(False)
        worker = _Worker(process, slot, place, here, time.monotonic())
        self._board.pen(place).enter(process.pid, slot)
        self._workers.append(worker)
        self._selector.register(here, selectors.EVENT_READ, worker)
        self._say(worker, kind="hello", remembered=list(self._remembered.values()))

    def _bury(self, worker: _Worker) -> None:
        """Its process has ended: read its last words, and decide what follows."""
        if self._is_registered(worker):
            self._read(worker)
        self._forget_channel(worker)
        self._workers.remove(worker)
        self._board.clear(worker.place)
        for number, question in list(self._questions.items()):
            if question.asker is worker:
                del self._questions[number]
            elif worker.place in question.waiting:
                self._note_answer(number, worker, {}, "it ended before it answered")
        if self._stopped_by is not None:
            return
        if worker.retires:
            self._restart_next()
            return
        self._cover()
        status = worker.process.returncode
        cause = worker.refusal or f"ended {'by signal' if status < 0 else 'with status'} {abs(status)}"
        if not self._ever_served:
            raise StartRefused(worker.refusal or f"a worker process {cause} before it served")
        self._board.note_death()
        others = [other for other in self._workers if other.slot == worker.slot and not other.retires]
        if others:
            if not worker.serves:
                _logger.error("a successor of worker %d did not start: %s", others[0].process.pid, cause)
                self._to_restart.clear()
            return
        young = time.monotonic() - worker.started < _YOUNG_SECONDS
        self._deaths[worker.slot] = self._deaths[worker.slot] + 1 if young else 0
        pause = _PAUSES_SECONDS[min(self._deaths[worker.slot], len(_PAUSES_SECONDS) - 1)]
        _logger.error("worker %d: %s; it is replaced in %.2f seconds", worker.process.pid, cause, pause)
        self._due[worker.slot] = time.monotonic() + pause

    def _retire(self, worker: _Worker, delay: float) -> None:
        worker.retires = True
        worker.kill_at = time.monotonic() + delay + self._grace_seconds
        if worker.serves:
            self._say(worker, kind="stop", delay=delay)
        else:
            worker.process.terminate()

    def _stop(self, number: int) -> None:
        if self._stopped_by is not None:
            if number == signal.SIGINT:
                self._kill_all()
            return
        _logger.info("stopping")
        self._stopped_by = number
        self._board.stop()
        self._due.clear()
        self._to_restart.clear()
        delay = self._drain_seconds if number == signal.SIGTERM and self._ever_served else 0.0
        self._close_listeners_at = time.monotonic() + delay
        for worker in self._workers:
            self._retire(worker, delay)

    def _close_listeners(self) -> None:
        """From here on no connection begins; workers close theirs a moment later, with what came before accepted."""
        self._close_listeners_at = None
        for listener in set(self._listeners):
            begin_no_more(listener)
            listener.close()

    def _kill_all(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()

    def _cover(self) -> None:
        """See that every slot's socket is accepted from: one whose worker is gone by another worker."""
        serving = [worker for worker in self._workers if worker.serves and not worker.retires]
        for slot in range(self._board.num_slots):
            adopter = self._adopters.get(slot)
            if any(worker.slot == slot for worker in serving):
                if self._adopters.pop(slot, None) in serving:
                    assert adopter is not None
                    self._say(adopter, kind="adopt", slot=slot, accept=False)
            elif adopter not in serving and serving:
                self._adopters[slot] = serving[slot % len(serving)]
                self._say(self._adopters[slot], kind="adopt", slot=slot, accept=True)

    # Rolling restart.

    def _restart_all(self) -> None:
        if self._stopped_by is None and self._ever_served:
            _logger.info("replacing the workers, one after the other")
            idle = not self._to_restart
            self._to_restart.extend(range(self._board.num_slots))
            if idle and not any(worker.retires or not worker.serves for worker in self._workers):
                self._restart_next()

    def _restart_next(self) -> None:
        if self._to_restart and not any(worker.retires or not worker.serves for worker in self._workers):
            self._start(self._to_restart.popleft())

    def _serves(self, worker: _Worker) -> None:
        worker.serves = True
        self._ever_served = True
        self._cover()
        predecessors = [
            other
            for other in self._workers
            if other.slot == worker.slot and other is not worker and other.serves and not other.retires
        ]
        for predecessor in predecessors:
            self._retire(predecessor, 0.0)
        if not predecessors:
            self._restart_next()

    # What workers say.

    def _read(self, worker: _Worker) -> None:
        while (chunk := _received(worker.channel)) is not None:
            if not chunk:
                self._forget_channel(worker)
                break
            worker.received += chunk
        if len(worker.received) > 2 * MAX_LINE_BYTES:
            raise AssertionError("a worker sent a line without end. This is a bug.")
        while (end := worker.received.find(b"\n")) >= 0:
            message = json.loads(worker.received[:end])
            del worker.received[: end + 1]
            self._heard(worker, message)

    def _heard(self, worker: _Worker, message: dict[str, Any]) -> None:
        match message["kind"]:
            case "serves":
                self._serves(worker)
            case "refused":
                worker.refusal = message["sentence"]
            case "tell_all":
                self._tell_all(worker, message)
            case "answer":
                self._note_answer(message["id"], worker, message["result"], message["error"])

    def _tell_all(self, asker: _Worker, message: dict[str, Any]) -> None:
        told = {"name": message["name"], "arguments": message["arguments"]}
        if (name := message["remember_as"]) is not None:
            # Removed first, so that the order is that of telling.
            self._remembered.pop(name, None)
            self._remembered[name] = told
        self._last_question += 1
        asked = [worker for worker in self._workers if not worker.retires]
        self._questions[self._last_question] = _Question(
            asker, message["id"], time.monotonic() + message["timeout"], {worker.place for worker in asked}
        )
        for worker in asked:
            self._say(worker, kind="tell", id=self._last_question, **told)

    def _note_answer(self, number: int, worker: _Worker, result: dict[str, Any], error: str | None) -> None:
        question = self._questions.get(number)
        if question is None or worker.place not in question.waiting:
            return
        question.waiting.discard(worker.place)
        question.answers.append({"slot": worker.slot, "result": result, "error": error})
        if not question.waiting:
            self._conclude(number)

    def _conclude(self, number: int, error: str = "") -> None:
        question = self._questions.pop(number)
        late = [worker for worker in self._workers if worker.place in question.waiting]
        question.answers += [{"slot": worker.slot, "result": {}, "error": error} for worker in late]
        answers = sorted(question.answers, key=lambda answer: int(answer["slot"]))
        self._say(question.asker, kind="told", id=question.number, answers=answers)

    def _say(self, worker: _Worker, **message: Any) -> None:
        try:
            # A worker that does not read for so long that the buffer is full is about to be killed anyway.
            worker.channel.settimeout(1.0)
            worker.channel.sendall(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has just ended, and that is told when it is buried
        except OSError:
            _logger.warning("worker %d cannot be told anything", worker.process.pid)
        if self._is_registered(worker):
            worker.channel.setblocking(False)

    def _is_registered(self, worker: _Worker) -> bool:
        return worker.channel.fileno() >= 0

    def _forget_channel(self, worker: _Worker) -> None:
        if self._is_registered(worker):
            self._selector.unregister(worker.channel)
            worker.channel.close()


def _received(connection: socket.socket) -> bytes | None:
    """What has come; nothing at its end; None while there is nothing."""
    try:
        return connection.recv(1 << 16)
    except BlockingIOError:
        return None
    except OSError:
        return b""
