"""`python -m service.process.worker`: one worker, spawned by the supervisor with what it inherits.

It loads the models, says that it serves, and serves until it is told to stop, loses its supervisor, or gets SIGTERM.
"""

import asyncio
import gc
import json
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from service import logs
from service.app import create_app
from service.errors import StartRefused
from service.observation.arena import Arena
from service.parts import Parts
from service.process.board import Board, Phase
from service.process.connections import Bounds, Config
from service.process.control import Channel
from service.process.direct import DirectAnswers
from service.process.membership import Membership
from service.process.server import Server
from service.settings import Settings

_TICK_SECONDS = 0.5
_MAX_HEADERS = 100
_OTHER_DESCRIPTORS = 256
"""Those that are no connections: graphs, the log, libraries."""


def main(given: dict[str, Any]) -> int:
    """Serve; the result is the exit status."""
    # Ctrl-C reaches every process of the terminal; the supervisor says what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    settings = Settings.from_environment()
    logs.configure(settings)
    channel = Channel(socket.socket(fileno=given["control"]), given["slot"])
    membership = Membership(Board(given["board"]), Arena(given["arena"]), given["place"], channel)
    membership.pen.enter(os.getpid(), given["slot"])
    try:
        application = create_app(settings, membership=membership)
    except StartRefused as error:
        channel.say(kind="refused", sentence=str(error))
        return 1
    bounds = Bounds(
        receipt_seconds=settings.receipt_seconds,
        max_head_bytes=settings.max_head_bytes,
        max_headers=_MAX_HEADERS,
        max_connections=settings.max_connections,
        max_unsent_bytes=settings.max_unsent_bytes,
    )
    parts: Parts = application.state.parts
    config = Config(
        application,
        bounds,
        direct=DirectAnswers(application.state.edge),
        on_refused=lambda cause: parts.metrics.rejected.add((cause,)),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    _raise_descriptor_limit(settings.max_connections)
    # Where workers share one socket, its number is there for each: one object for it, or it would be closed again.
    opened = {number: socket.socket(fileno=number) for number in set(given["listeners"])}
    listeners = [opened[number] for number in given["listeners"]]
    server = Server(
        config,
        grace_seconds=settings.grace_seconds,
        on_started=lambda: _serves(channel, parts),
        ends_service=lambda: membership.board.stopping,
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(server, listeners, channel, membership))
    return 0


def _serves(channel: Channel, parts: Parts) -> None:
    # What is there now stays: later collections need not look through it again.
    gc.collect()
    gc.freeze()
    parts.membership.pen.models_ready(parts.catalog.readiness().ready)
    parts.membership.pen.phase(Phase.SERVING)
    channel.say(kind="serves")


async def _serve(server: Server, listeners: list[socket.socket], channel: Channel, membership: Membership) -> None:
    """Until told to stop, and then to the end of what was accepted."""
    listening = asyncio.create_task(channel.listen())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, channel.stop, 0.0)
    # A supervisor that is gone cannot tell us anything any more.
    listening.add_done_callback(lambda _: channel.stop(0.0))
    await channel.caught_up.wait()
    serving = asyncio.create_task(server.serve(sockets=[listeners[channel.slot].dup()]))
    others = [
        asyncio.create_task(_tidy(server)),
        asyncio.create_task(_adopt(server, listeners, channel)),
    ]
    delay = await channel.told_to_stop()
    for listener in listeners:
        listener.close()
    membership.pen.phase(Phase.DRAINING)
    await server.drain(delay)
    await serving
    for task in (*others, listening):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _adopt(server: Server, listeners: list[socket.socket], channel: Channel) -> None:
    while True:
        slot, accept = await channel.adopted.get()
        if accept:
            await server.adopt(listeners[slot])
        else:
            server.release(listeners[slot])


async def _tidy(server: Server) -> None:
    while True:
        server.tidy()
        await asyncio.sleep(_TICK_SECONDS)


def _raise_descriptor_limit(max_connections: int) -> None:
    """Many systems allow 1024 open files until a process asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_connections + _OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
