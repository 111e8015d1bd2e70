"""The application in this process, with parts made for the test: bugs, long work, and where work is done."""

import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import anyio
import httpx
import pytest
from tiny_models import TINY_BINARY

from models.manifest import Role
from models.repository import Repository
from service.app import create_app
from service.batching import Ran
from service.catalog import Catalog
from service.dispatch import Dispatcher, DispatchLimits, Nobody
from service.engine import Engine
from service.operations import Encode
from service.sessions import Cost
from service.settings import Settings

ENCODE = "/v1/models/tiny-binary/encode"
BODY: dict[str, Any] = {"inputs": [[0.5] * 16]}
WAIT_SECONDS = 30


class Failing(Engine):
    """An engine with a bug, as long as `broken`."""

    broken = True

    def to_encode(self, *args: Any, **kwargs: Any) -> Encode:
        if self.broken:
            raise RuntimeError("a secret of the server, /etc/passwd")
        return super().to_encode(*args, **kwargs)


class Waiting(Engine):
    """An engine whose encoding takes until it is told to go on."""

    costs: ClassVar = {"encoder": Cost(1.0, 1.0)}  # estimated as long
    started: threading.Event
    go_on: threading.Event

    def run_graph(self, *args: Any, **kwargs: Any) -> Any:
        self.started.set()
        if not self.go_on.wait(WAIT_SECONDS):
            raise RuntimeError("nobody said to go on")
        return super().run_graph(*args, **kwargs)


def limits(max_inline_seconds: float) -> DispatchLimits:
    return DispatchLimits(max_batch_wait_seconds=0.0, max_queue_rows=100, max_inline_seconds=max_inline_seconds)


def run_against(engine: Engine, scenario: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    """Run the scenario against an application that serves this engine alone."""

    async def run() -> None:
        app = create_app(Settings(), Catalog([engine]))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await scenario(client)

    anyio.run(run)


def test_a_bug_is_logged_with_its_traceback_and_answered_without_it(
    tiny_repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Failing.load(Repository(tiny_repository).read("tiny-binary"))

    async def scenario(client: httpx.AsyncClient) -> None:
        reply = await client.post(ENCODE, json=BODY, headers={"X-Request-ID": "the-one-with-the-bug"})
        assert reply.status_code == 500
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["request_id"] == reply.headers["x-request-id"] == "the-one-with-the-bug"
        assert "secret" not in reply.text
        assert "RuntimeError" not in reply.text
        engine.broken = False
        assert (await client.post(ENCODE, json=BODY)).status_code == 200

    with caplog.at_level(logging.ERROR):
        run_against(engine, scenario)
    [record] = caplog.records
    assert "the-one-with-the-bug" in record.getMessage()
    assert record.exc_info is not None
    assert "a secret of the server" in str(record.exc_info[1])


def test_health_is_answered_while_a_long_request_runs(tiny_repository: Path) -> None:
    """The encoding waits for the health check's answer: on the event loop neither could ever finish."""
    engine = Waiting.load(Repository(tiny_repository).read("tiny-binary"))
    engine.started, engine.go_on = threading.Event(), threading.Event()
    replies = []

    async def scenario(client: httpx.AsyncClient) -> None:
        async def encode() -> None:
            replies.append(await client.post(ENCODE, json=BODY, timeout=2 * WAIT_SECONDS))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(encode)
            with anyio.fail_after(WAIT_SECONDS):
                while not engine.started.is_set():
                    await anyio.sleep(0.001)
                assert (await client.get("/v2/health/live")).json() == {"live": True}
                assert (await client.get("/v2/health/ready")).status_code == 200
            assert not replies
            engine.go_on.set()

    run_against(engine, scenario)
    [reply] = replies
    assert reply.json()["codes"] == TINY_BINARY.encode(TINY_BINARY.inputs(1) * 0 + 0.5).codes.tolist()


def test_short_work_is_done_at_once_and_long_work_in_another_thread() -> None:
    async def run() -> None:
        dispatcher = Dispatcher(limits(0.002))
        here = threading.get_ident()
        assert await dispatcher.run(threading.get_ident, 0.001) == here
        assert await dispatcher.run(threading.get_ident, 0.1) != here

    anyio.run(run)


def test_long_work_is_done_one_after_the_other() -> None:
    running, most = 0, 0
    lock = threading.Lock()
    overlap = threading.Event()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        overlap.wait(0.01)
        with lock:
            running -= 1

    async def run() -> None:
        dispatcher = Dispatcher(limits(0.0))
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(lambda: dispatcher.run(work, 1.0))

    anyio.run(run)
    assert most == 1


def test_the_error_of_long_work_reaches_who_asked_for_it() -> None:
    def fail() -> None:
        raise ValueError("from the thread")

    async def run() -> None:
        with pytest.raises(ValueError, match="from the thread"):
            await Dispatcher(limits(0.0)).run(fail, 1.0)

    anyio.run(run)


def test_the_noise_of_many_rows_is_drawn_in_parts_between_which_others_are_served(
    tiny_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.operations._SECONDS_PER_NOISE", 1e-3)
    engine = Engine.load(Repository(tiny_repository).read("tiny-binary"), max_rows_per_run=1024)
    engine.__dict__["costs"] = {role: Cost(0.0, 1e-7) for role in ("encoder", "sampler", "decoder")}
    sizes: list[int] = []

    class Sizes(Nobody):
        def ran(self, engine: Engine, role: Role, ran: Ran) -> None:
            sizes.append(ran.num_rows)

    dispatcher = Dispatcher(DispatchLimits(0.0, 1000, 0.001), Sizes())
    inputs = TINY_BINARY.inputs(200)

    async def codes(temperature: float) -> Any:
        sizes.clear()
        encoding = await dispatcher.encode(engine, inputs, temperature=temperature, seed=7)
        assert encoding.codes is not None
        assert (encoding.codes == engine.encode(inputs, temperature=temperature, seed=7).codes).all()

    anyio.run(codes, 1.0)
    assert max(sizes) == 16
    anyio.run(codes, 0.0)
    assert sizes == [200]
