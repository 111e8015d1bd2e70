"""All at once for a while: load, new versions, killed workers, restarts, malformed requests; nothing is left of it.

`SOAK_SECONDS=3600 python -m pytest -n 0 tests/service/test_soak.py` soaks for an hour.
"""

import http.client
import itertools
import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from service_load import Asked, Load
from service_process import ServiceProcess
from tiny_models import TINY_BINARY, TINY_CATEGORICAL, TinyModel

from models.repository import Repository
from service.engine import Engine
from service.wire import replies

SECONDS = float(os.environ.get("SOAK_SECONDS", "45"))
NUM_CALLERS, NUM_WORKERS = 4, 2
KILL_EVERY_SECONDS, PUBLISH_EVERY_SECONDS = 6, 9
MAX_GROWTH_BYTES, MAX_MORE_DESCRIPTORS = 24 << 20, 8
"""How much more a worker may hold after the second half than after the first: allocators keep what they once had."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(SECONDS * 2 + 120),
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system has no /proc"),
]

_JSON = "application/json"
MALFORMED: tuple[tuple[str, str, bytes], ...] = (
    ("/v1/models/tiny-binary/encode", _JSON, b'{"inputs": [[1, 2'),
    ("/v1/models/tiny-binary/encode", _JSON, b'{"inputs": [[NaN]]}'),
    ("/v1/models/tiny-binary/encode", _JSON, b'{"inputs": [[1e400]]}'),
    ("/v1/models/tiny-binary/encode", _JSON, b"[" * 100_000),
    ("/v1/models/tiny-binary/encode", _JSON, b'{"inputs": [["1"]], "temperature": -1}'),
    ("/v1/models/tiny-binary/encode", "application/x-npy", b"\x93NUMPY\x01\x00\xff\xff{'descr': '|O'}"),
    ("/v1/models/tiny-binary/encode", "image/png", b"\x89PNG\r\n\x1a\n and nothing more"),
    ("/v1/models/tiny-categorical/decode", _JSON, b'{"codes": [[9, 9, 9, 9, 9]]}'),
    ("/v1/models/nobody/encode", _JSON, b"{}"),
    ("/v2/models/tiny-binary/infer", _JSON, b'{"inputs": [{"name": "inputs", "shape": [-1], "datatype": "FP32"}]}'),
)


def expected_json(outputs: np.ndarray) -> object:
    """An array as the reply spells it: the shortest decimals that read back as the same float32."""
    return json.loads(replies.to_json({"outputs": outputs}))["outputs"]


def asked_of(stored: Engine, model: TinyModel) -> Iterator[Asked]:
    """Requests with the answers that ONNX Runtime gives in this process: codes, drawn codes, and outputs."""
    inputs = np.round(model.inputs(30), 3)
    path = f"/v1/models/{model.name}"
    for at, row in enumerate(inputs):
        rows = row[None].tolist()
        codes = stored.encode(row[None]).codes.tolist()
        yield Asked(f"{path}/encode", json.dumps({"inputs": rows}).encode(), {"codes": codes})
        drawn = stored.encode(row[None], temperature=0.8, seed=at).codes.tolist()
        body = {"inputs": rows, "temperature": 0.8, "seed": at}
        yield Asked(f"{path}/encode", json.dumps(body).encode(), {"codes": drawn, "seed": at})
        outputs = stored.decode(np.array(codes))
        yield Asked(f"{path}/decode", json.dumps({"codes": codes}).encode(), {"outputs": expected_json(outputs)})


@contextmanager
def troublemaker(service: ServiceProcess, seed: int) -> Iterator[Counter[int]]:
    """A caller who sends what nobody can answer, and lies about lengths; counts the statuses of the replies."""
    statuses: Counter[int] = Counter()
    ending = threading.Event()
    chance = random.Random(seed)

    def send() -> None:
        for turn in itertools.count():
            if ending.wait(0.02):
                return
            path, content_type, body = chance.choice(MALFORMED)
            try:
                if turn % 7 == 0:
                    # Promises more than it sends, and leaves.
                    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
                        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n"
                        connection.sendall(head.encode() + body[:100])
                    continue
                connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
                connection.request("POST", path, body, {"Content-Type": content_type})
                with connection.getresponse() as reply:
                    assert len(reply.read()) <= 4096
                    statuses[reply.status] += 1
                connection.close()
            except (OSError, http.client.HTTPException):
                continue  # the worker was killed meanwhile

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield statuses
    finally:
        ending.set()
        thread.join(60)
    assert not thread.is_alive()


def settled(service: ServiceProcess) -> set[int]:
    """The workers, once they are all there and ready."""
    deadline = time.monotonic() + 60
    while True:
        workers = service.workers()
        if len(workers) == NUM_WORKERS and service.is_ready():
            return workers
        assert time.monotonic() < deadline, f"the service did not become whole again: {workers}"
        time.sleep(0.05)


def held(workers: set[int]) -> tuple[int, int]:
    """Bytes of its own and open descriptors of the worker that has most of each.

    Without pages of files, which the system takes from memory and reads again as it likes.
    """
    statm = [[int(number) for number in Path(f"/proc/{pid}/statm").read_text().split()] for pid in workers]
    num_pages = max(resident - of_files for _, resident, of_files, *_ in statm)
    num_descriptors = max(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in workers)
    return num_pages * os.sysconf("SC_PAGE_SIZE"), num_descriptors


def test_nothing_is_wrong_and_nothing_is_left_after_all_that_can_happen_has(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "models")
    (tmp_path / "models").mkdir()
    models = (TINY_BINARY, TINY_CATEGORICAL)
    engines = {model.name: Engine.load(model.publish(repository), device="cpu") for model in models}
    asked = [each for model in models for each in asked_of(engines[model.name], model)]
    random.Random(0).shuffle(asked)
    settings = {"workers": NUM_WORKERS, "repository_poll_seconds": 0.5, "device": "cpu"}
    kills = publications = 0
    with ServiceProcess([tmp_path / "models"], log=tmp_path / "log", **settings) as service:
        with Load(service, asked, num_callers=NUM_CALLERS) as load, troublemaker(service, 1) as statuses:
            begun = time.monotonic()
            next_kill, next_publication = KILL_EVERY_SECONDS, PUBLISH_EVERY_SECONDS
            while (passed := time.monotonic() - begun) < SECONDS or min(kills, publications) < 3:
                if passed > next_kill:
                    os.kill(min(settled(service)), signal.SIGKILL)
                    kills, next_kill = kills + 1, next_kill + KILL_EVERY_SECONDS
                if passed > next_publication:
                    models[publications % 2].publish(repository)
                    publications, next_publication = publications + 1, next_publication + PUBLISH_EVERY_SECONDS
                time.sleep(0.1)
            # All workers anew, so that memory is compared between two that lived equally long.
            before = settled(service)
            service.send_signal(signal.SIGHUP)
            while settled(service) & before:
                time.sleep(0.1)
            workers = settled(service)
            load.wait_for(500)
            first = held(workers)
            load.wait_for(1500)
            assert settled(service) == workers
            second = held(workers)
        assert service.stop() == 0
    assert load.wrong == []
    assert load.outcomes.keys() <= {"right", "lost", "refused"}, load.outcomes
    assert load.outcomes["lost"] <= kills * NUM_CALLERS
    assert statuses.total() > 100
    assert all(400 <= status < 500 for status in statuses), statuses
    assert second[0] - first[0] < MAX_GROWTH_BYTES
    assert second[1] - first[1] <= MAX_MORE_DESCRIPTORS
    assert "this is a bug" not in service.log_text()
