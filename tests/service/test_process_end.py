"""How a server ends on a machine that stands still at the wrong moment: what was asked is answered all the same."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from service_load import Load
from service_process import ServiceProcess
from test_process_workers import encodes

from service.process.connections import Bounds, Config
from service.process.listeners import open_listeners
from service.process.server import Server

BOUNDS = Bounds(
    receipt_seconds=30, max_head_bytes=1 << 16, max_headers=100, max_connections=10, max_unsent_bytes=1 << 20
)
LINGER_SECONDS = 4.0
"""Much more than all that the test does beside standing still takes, however slow the machine is."""
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

# A supervisor that is held up between telling the workers to stop and closing its own ends of their sockets.
HELD_UP = (
    "-c",
    "import runpy, time\n"
    "from service.process.supervisor import Supervisor\n"
    "close = Supervisor._close_listeners\n"
    "Supervisor._close_listeners = lambda self: (time.sleep(0.7), close(self))\n"
    "runpy.run_module('service', run_name='__main__')",
)


def test_no_connection_is_made_and_lost_while_the_supervisor_is_held_up(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=2, program=HELD_UP) as service:
        with Load(service, encodes()) as load:
            load.wait_for(50)
            assert service.stop() == 0
        assert load.outcomes.keys() <= {"right", "refused"}, load.outcomes
        assert load.outcomes["refused"]
    assert "Traceback" not in service.log_text()


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with open_listeners("127.0.0.1", 0, 1)[0] as opened:
        yield opened


async def standing_still() -> None:
    """Nothing of this process runs for longer than a connection may be idle."""
    time.sleep(LINGER_SECONDS + 0.3)


async def asked_before(caller: socket.socket) -> None:
    caller.sendall(ASK)
    await standing_still()


async def asked_after(caller: socket.socket) -> None:
    await standing_still()
    await asyncio.sleep(0.05)
    caller.sendall(ASK)


@pytest.mark.parametrize("ask", [asked_before, asked_after])
def test_time_in_which_nothing_ran_is_no_time_that_a_connection_was_idle(
    listener: socket.socket, ask: Callable[[socket.socket], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a machine that is paused, or has too much to do: callers could not ask, or their bytes were not read."""
    monkeypatch.setattr("service.process.server.LINGER_SECONDS", LINGER_SECONDS)

    async def scenario() -> None:
        started = asyncio.Event()
        config = Config(application, BOUNDS, lifespan="off", log_config=None, access_log=False)
        server = Server(config, grace_seconds=30, on_started=started.set)
        serving = asyncio.create_task(server.serve(sockets=[listener.dup()]))
        await started.wait()
        with socket.create_connection(listener.getsockname(), timeout=30) as caller:
            caller.sendall(ASK)
            assert (await asyncio.to_thread(caller.recv, 4096)).startswith(b"HTTP/1.1 204 ")
            await server.drain(0)
            while server.servers[0].is_serving():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)  # it has begun to look for connections that are idle
            await ask(caller)
            reply = await asyncio.to_thread(caller.recv, 4096)
            assert reply.startswith(b"HTTP/1.1 204 ")
            assert b"connection: close" in reply.lower()
        await serving

    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 60))
