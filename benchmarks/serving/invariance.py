"""Codes do not depend on what they were computed with: batch sizes, orders, workers, restarts. Counts those that do.

    python benchmarks/serving/invariance.py --rows 1000000 --results benchmarks/serving/invariance.json

Rows are mixtures of a model's golden inputs and noise, so that many latents are nearly tied. They are encoded in
batches of 256 for reference; then in other sizes, in another order, and by a service of two workers that is started
twice, over several connections at once. At temperature 0 and at temperature 1 with a seed. The exit status is 1 if any
code differs.
"""

import argparse
import io
import json
import os
import platform
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime

from models.repository import Repository
from service.engine import Engine

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "models" / "shipped"
CHUNK = 20_000
"""Rows in memory at a time."""
SIZES = (3, 17, 64, 1000, 1024)
SINGLE_EVERY = 20
"""Of this many rows one is encoded alone: a million runs of one row would take longer than all the others."""
SEED = 7


def main() -> int:
    """Count and write; the result is the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each model")
    parser.add_argument("--served-rows", type=int, default=100_000, help="of each model, through the service")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    report = {
        "machine": f"{platform.processor() or platform.machine()}, ONNX Runtime {onnxruntime.__version__}",
        "batch_sizes": [1, *SIZES],
        "models": {name: in_process(name, options.rows) for name in Repository(SHIPPED).names()},
        "served": {name: served(name, options.served_rows) for name in Repository(SHIPPED).names()},
    }
    print(json.dumps(report, indent=1))
    if options.results:
        options.results.write_text(json.dumps(report, indent=1) + "\n")
    counted = [*report["models"].values(), *report["served"].values()]
    return int(any(count for each in counted for name, count in each.items() if name.startswith("differing")))


def rows_of(engine: Engine, chunk: int, num_rows: int) -> np.ndarray:
    """Rows [num_rows, D] of a chunk: between two golden inputs, and noise on top. The same on every machine."""
    rng = np.random.Generator(np.random.Philox(key=chunk))
    golden = engine.manifest.golden.inputs.array().reshape(-1, engine.manifest.input.size)
    first, second = golden[rng.integers(len(golden), size=(2, num_rows))]
    share = rng.random((num_rows, 1), dtype=np.float32)
    mixed = share * first + (1 - share) * second + rng.normal(0, 0.1, first.shape).astype(np.float32)
    return mixed.clip(engine.manifest.input.minimum, engine.manifest.input.maximum)


def encode(engine: Engine, rows: np.ndarray, numbers: np.ndarray, size: int, temperature: float) -> np.ndarray:
    """Codes of rows with consecutive numbers, in batches of a size."""
    pieces = [
        engine.encode(rows[at : at + size], temperature=temperature, seed=SEED, first_row=int(numbers[at])).codes
        for at in range(0, len(rows), size)
    ]
    return np.concatenate(pieces)


def in_process(name: str, num_rows: int) -> dict[str, int]:
    """Rows whose codes differ from those of batches of 256, by temperature; and how many latents were nearly tied."""
    engine = Engine.load(Repository(SHIPPED).read(name), device="cpu", max_rows_per_run=max(SIZES))
    found = {"rows": 0, "near_ties": 0, "differing_at_0": 0, "differing_at_1": 0, "differing_permuted": 0}
    for chunk, start in enumerate(range(0, num_rows, CHUNK)):
        rows = rows_of(engine, chunk, min(CHUNK, num_rows - start))
        numbers = np.arange(start, start + len(rows))
        found["rows"] += len(rows)
        for temperature in (0.0, 1.0):
            expected = encode(engine, rows, numbers, 256, temperature)
            for size in SIZES:
                differs = (encode(engine, rows, numbers, size, temperature) != expected).any(axis=1)
                found[f"differing_at_{temperature:g}"] += int(differs.sum())
            alone = np.concatenate(
                [
                    encode(engine, rows[at : at + 1], numbers[at:], 1, temperature)
                    for at in range(0, len(rows), SINGLE_EVERY)
                ]
            )
            found[f"differing_at_{temperature:g}"] += int((alone != expected[::SINGLE_EVERY]).any(axis=1).sum())
        order = np.random.Generator(np.random.Philox(key=chunk + 1)).permutation(len(rows))
        permuted = encode(engine, rows[order], numbers, 256, 0.0)
        firm = engine.encode(rows, outputs=("codes", "margins"))
        found["differing_permuted"] += int((permuted != firm.codes[order]).any(axis=1).sum())
        found["near_ties"] += int((firm.margins < 1e-4).sum())
    return found


def served(name: str, num_rows: int) -> dict[str, int]:
    """Rows whose codes the service gives otherwise: two workers, started twice, eight connections at once."""
    engine = Engine.load(Repository(SHIPPED).read(name), device="cpu", max_rows_per_run=256)
    rows = np.concatenate([rows_of(engine, chunk, CHUNK) for chunk in range(-(-num_rows // CHUNK))])[:num_rows]
    expected = encode(engine, rows, np.arange(num_rows), 256, 1.0)
    found = {"rows": 2 * num_rows, "differing": 0}
    cuts = np.cumsum(np.random.Generator(np.random.Philox(key=0)).integers(1, 200, num_rows))
    bounds = [0, *cuts[cuts < num_rows].tolist(), num_rows]
    for _ in range(2):
        with running() as url, ThreadPoolExecutor(8) as callers:
            path = f"{url}/v1/models/{name}/encode?temperature=1&seed={SEED}&first_row="
            asked = [(path + str(at), rows[at:end]) for at, end in pairwise(bounds)]
            codes = np.concatenate(list(callers.map(lambda each: ask(*each), asked)))
        found["differing"] += int((codes != expected).any(axis=1).sum())
    return found


def ask(url: str, rows: np.ndarray) -> np.ndarray:
    """Codes from the service."""
    body = io.BytesIO()
    np.save(body, rows)
    headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    with urllib.request.urlopen(urllib.request.Request(url, body.getvalue(), headers), timeout=60) as reply:
        return np.load(io.BytesIO(reply.read()))


@contextmanager
def running() -> Iterator[str]:
    """The service over the shipped models, with two workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"PORT": port, "WORKERS": 2, "MODEL_REPOSITORIES": SHIPPED, "LOG_LEVEL": "warning", "DEVICE": "cpu"}
    environment = os.environ | {f"LATENT_CODES_{key}": str(value) for key, value in settings.items()}
    process = subprocess.Popen([sys.executable, "-m", "service"], env=environment, cwd=ROOT)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    sys.exit(main())
