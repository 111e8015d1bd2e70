"""What everything that happens to every request costs, beside answering it: ids, admission, counting, heads.

    python -m benchmarks.edge_overhead [--requests 20000]

Calls the service's edge in this process around a route that does nothing, with and without keys, and prints, as JSON,
microseconds a request: the least of several rounds, each of them the mean of many requests.
"""

import argparse
import asyncio
import json
import platform
import time
from typing import Any

from service.admission import Admission
from service.edge import Edge, Watch
from service.exchange import Answer, Exchange
from service.observation.access_log import AccessLog
from service.observation.metrics import Metrics
from service.observation.tracing import Tracing
from service.process.membership import Membership
from service.settings import Settings

_ROUNDS = 7
_KEY = "0123456789abcdef"
_HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"user-agent", b"python-httpx/0.28.1"),
    (b"content-type", b"application/json"),
    (b"content-length", b"5000"),
    (b"x-api-key", _KEY.encode()),
]


async def _nothing(_exchange: Exchange) -> Answer:
    return Answer(b"{}", "application/json")


async def _receive() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def _scope() -> dict[str, Any]:
    path = "/v1/models/mnist-binary/encode"
    return {"type": "http", "method": "POST", "path": path, "headers": _HEADERS, "state": {}, "query_string": b""}


async def _microseconds(settings: Settings, num_requests: int) -> float:
    membership = Membership.alone()
    watch = Watch(Metrics(membership, membership.arena), AccessLog(enabled=False), Tracing())
    edge = Edge(Admission(settings), watch)
    best = float("inf")
    for _ in range(_ROUNDS):
        scopes = [_scope() for _ in range(num_requests)]
        start = time.process_time()
        for scope in scopes:
            await edge.answer(Exchange(scope, _receive), _nothing)
        best = min(best, (time.process_time() - start) / num_requests)
    return best * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000, help="requests in a round")
    num_requests = parser.parse_args().requests
    keys = " ".join(f"caller-{number}:{number:016d}" for number in range(9)) + f" me:{_KEY}"
    measured = {
        "without keys": asyncio.run(_microseconds(Settings(), num_requests)),
        "with ten keys": asyncio.run(_microseconds(Settings(api_keys=keys), num_requests)),  # type: ignore[arg-type]
    }
    machine = {"processor": platform.processor() or platform.machine(), "python": platform.python_version()}
    print(json.dumps({"microseconds_per_request": measured, "machine": machine}, indent=2))


if __name__ == "__main__":
    main()
