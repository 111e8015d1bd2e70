"""JSON to an array: how the service reads a body beside orjson with numpy, and beside simdjson alone.

    python benchmarks/serving/json_bodies.py --results benchmarks/serving/json_bodies.json

1, 8 and 64 rows of 784 numbers, of four decimals and of all of float64's, flat and in the shape of an image. The
contestants: the service's quick way (`wire.json_arrays`), the one that names errors (`wire.json_bodies`), what a
careful engineer writes (`np.array(orjson.loads(body)["inputs"], np.float32)`), and simdjson's `as_buffer` with nothing
checked. All must give the same array before anything is timed. Microseconds of processor time of one call: the least of
several rounds, in which the contestants take turns.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from service.wire import json_arrays, json_bodies
from service.wire.json_arrays import ArrayField

_SHAPE = (28, 28)
_ROWS = (1, 8, 64)
_ROUND_SECONDS = 0.05


def quick(body: bytes) -> NDArray[Any]:
    """The service's, where nothing is wrong with the document."""
    document = json_arrays.parse(body, {"inputs": ArrayField("d", _SHAPE)})
    assert document is not None
    return np.asarray(document["inputs"])


def naming(body: bytes) -> NDArray[Any]:
    """The service's, that names what is wrong."""
    return json_bodies.parse_numbers(json_bodies.parse_json(body)["inputs"], "inputs", _SHAPE)


def orjson_with_numpy(body: bytes) -> NDArray[Any]:
    """Nothing is checked but that it is an array."""
    return np.array(orjson.loads(body)["inputs"], np.float32)


def simdjson_alone(body: bytes) -> NDArray[Any]:
    """Nothing is checked; rows of any lengths become one."""
    return np.frombuffer(simdjson.Parser().parse(body)["inputs"].as_buffer(of_type="d"))


CONTESTANTS: dict[str, Callable[[bytes], NDArray[Any]]] = {
    "wire.json_arrays": quick,
    "wire.json_bodies": naming,
    "orjson + numpy": orjson_with_numpy,
    "simdjson as_buffer, unchecked": simdjson_alone,
}


def bodies() -> dict[str, bytes]:
    """By what they hold."""
    found = {}
    random = np.random.default_rng(0).random((max(_ROWS), *_SHAPE))
    for digits, numbers in (("4 decimals", random.round(4)), ("all decimals", random)):
        for num_rows in _ROWS:
            rows = numbers[:num_rows]
            flat = rows.reshape(num_rows, -1)
            found[f"{num_rows} flat, {digits}"] = orjson.dumps({"inputs": flat.tolist()})
            found[f"{num_rows} nested, {digits}"] = orjson.dumps({"inputs": rows.tolist()})
    return found


def measure(body: bytes, num_rounds: int) -> dict[str, float]:
    """Microseconds of each."""
    expected = naming(body).ravel().astype(np.float32)
    repeats = {}
    for name, read in CONTESTANTS.items():
        if not np.array_equal(read(body).ravel().astype(np.float32), expected):
            raise SystemExit(f"{name} reads other numbers")
        repeats[name] = max(1, int(_ROUND_SECONDS / _seconds(read, body, 1)))
    best = dict.fromkeys(CONTESTANTS, float("inf"))
    for _ in range(num_rounds):
        for name, read in CONTESTANTS.items():
            best[name] = min(best[name], _seconds(read, body, repeats[name]))
    return {name: round(seconds * 1e6, 1) for name, seconds in best.items()}


def _seconds(read: Callable[[bytes], Any], body: bytes, repeats: int) -> float:
    begun = time.process_time()
    for _ in range(repeats):
        read(body)
    return max(1e-6, (time.process_time() - begun) / repeats)


def _processor() -> str:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return models[0].partition(":")[2].strip() if models else platform.machine()


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--results", type=Path, help="JSON file to write")
    options = parser.parse_args()
    report = {
        "machine": {"cpu": _processor(), "cores": len(os.sched_getaffinity(0))},
        "versions": {name: version(name) for name in ("orjson", "pysimdjson", "numpy")},
        "simdjson_implementation": simdjson.Parser().implementation[0],
        "rounds": options.rounds,
        "microseconds": {name: {"bytes": len(body)} | measure(body, options.rounds) for name, body in bodies().items()},
    }
    if options.results:
        options.results.write_text(json.dumps(report, indent=1) + "\n")
    print(f"| rows | bytes | {' | '.join(CONTESTANTS)} |\n| --- | --- |{' --- |' * len(CONTESTANTS)}")
    for name, found in report["microseconds"].items():
        print(f"| {name} | {found['bytes']:,} | {' | '.join(f'{found[each]:,.1f}' for each in CONTESTANTS)} |")


if __name__ == "__main__":
    main()
