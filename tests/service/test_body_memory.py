"""Memory of long bodies: used again, never by two at a time, and not kept for longer than it is of use."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from uvicorn.server import ServerState

from service.edge import Reply
from service.exchange import Exchange
from service.process import direct
from service.process.body_memory import BodyMemory
from service.process.connections import Bounds, Config, Connection
from service.process.direct import DirectAnswers
from service.wire import read_body

LARGE_PAGE = 2 << 20


def address(memory: memoryview) -> int:
    return int(np.frombuffer(memory, np.uint8).ctypes.data)


def test_what_nothing_refers_to_any_more_is_taken_again() -> None:
    memory = BodyMemory()
    body = memory.take(5_000_000)
    first = address(body)
    rows = np.frombuffer(body, np.float32)[1000:]
    del body
    assert memory.num_unused_bytes == 0
    other = memory.take(5_000_000)
    assert address(other) != first
    del rows
    assert memory.num_unused_bytes >= 5_000_000
    assert address(memory.take(4_990_000)) == first


def test_bodies_that_are_there_at_the_same_time_lie_apart() -> None:
    memory = BodyMemory()
    for _ in range(3):
        bodies = [memory.take(3_000_000 + number) for number in range(5)]
        for number, body in enumerate(bodies):
            np.frombuffer(body, np.uint8)[:] = number
        assert [len(body) for body in bodies] == [3_000_000 + number for number in range(5)]
        assert all((np.frombuffer(body, np.uint8) == number).all() for number, body in enumerate(bodies))


def test_a_short_body_does_not_take_the_memory_of_a_long_one() -> None:
    memory = BodyMemory()
    memory.take(8 * LARGE_PAGE)
    short = memory.take(LARGE_PAGE)
    assert memory.num_unused_bytes == 8 * LARGE_PAGE
    del short


def test_what_is_short_is_left_to_the_heap() -> None:
    memory = BodyMemory()
    assert len(memory.take(300_000)) == 300_000
    assert memory.num_unused_bytes == 0


def test_no_more_is_kept_than_was_allowed() -> None:
    memory = BodyMemory(max_unused_bytes=3 * LARGE_PAGE)
    bodies = [memory.take(LARGE_PAGE) for _ in range(8)]
    del bodies
    assert memory.num_unused_bytes == 3 * LARGE_PAGE
    memory.take(4 * LARGE_PAGE)
    assert memory.num_unused_bytes == 3 * LARGE_PAGE


def test_what_nobody_took_between_two_looks_goes_back_to_the_system() -> None:
    memory = BodyMemory()
    memory.take(LARGE_PAGE)
    memory.tidy()
    memory.take(LARGE_PAGE)  # it is used, so it stays
    memory.tidy()
    assert memory.num_unused_bytes == LARGE_PAGE
    memory.tidy()
    assert memory.num_unused_bytes == 0


def test_memory_comes_back_from_any_thread() -> None:
    memory = BodyMemory()
    with ThreadPoolExecutor(4) as threads:
        for _ in range(100):
            reads = []
            for number in range(8):
                rows = np.frombuffer(memory.take(LARGE_PAGE), np.uint8)
                rows[:100] = number
                reads.append(threads.submit(lambda rows: rows[:100].tolist(), rows))
                del rows
            memory.tidy()
            assert [read.result() for read in reads] == [[number] * 100 for number in range(8)]
            del reads
    memory.tidy()
    memory.tidy()
    assert memory.num_unused_bytes == 0


class Routes:
    """Reads a body, and waits for ever before it answers."""

    def __init__(self) -> None:
        self.bodies: list[weakref.ref[Any]] = []

    def find(self, _path: str) -> Any:
        return self

    async def answer(self, exchange: Exchange, _route: Any) -> Reply:
        content = await read_body(exchange, 16 << 20)
        assert isinstance(content, memoryview)
        self.bodies.append(weakref.ref(content.obj))
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nobody waits for it any more")


@pytest.fixture
def without_collector() -> Iterator[None]:
    """What is in a cycle stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("share", [0.7, 1.0], ids=["within-a-body", "after-it"])
def test_nothing_keeps_the_body_of_a_caller_who_left(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[weakref.ref[Any]] = []

    class Watched(BodyMemory):
        def take(self, num_bytes: int) -> memoryview:
            view = super().take(num_bytes)
            taken.append(weakref.ref(view.obj))
            return view

    monkeypatch.setattr(direct, "BodyMemory", Watched)
    body = bytes(5_000_000)
    sent = b"POST /v1/models/x/encode HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def scenario() -> None:
        routes = Routes()
        bounds = Bounds(
            receipt_seconds=30, max_head_bytes=65536, max_headers=100, max_connections=9, max_unsent_bytes=1 << 20
        )
        config = Config(None, bounds, direct=DirectAnswers(routes), lifespan="off", log_config=None)
        config.load()
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(config, ServerState(), {}), "127.0.0.1", 0
        )
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(sent[: int(len(sent) * share)])
        await writer.drain()
        await until(lambda: bool(routes.bodies if share == 1 else taken))
        assert taken[0]() is not None
        writer.close()
        await until(lambda: taken[0]() is None)
        server.close()

    asyncio.run(asyncio.wait_for(scenario(), 30))


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.01)
