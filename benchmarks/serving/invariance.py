"""Codes do not depend on what they were computed with: batch sizes, orders, workers, restarts. Counts those that do.

    python benchmarks/serving/invariance.py --rows 1000000 --results benchmarks/serving/invariance.json

Rows are mixtures of a model's golden inputs and noise, so that many latents are nearly tied. They are encoded in
batches of 256 for reference; then in other sizes, in another order, and by a service of two workers that is started
twice, over several connections at once. At temperature 0 and at temperature 1 with a seed.

On the CPU no code may differ. On a GPU logits differ in their last bits, so the largest difference there was is
measured too, and the margin that follows: two scores that each move by d may change places where they were less than
2 d apart. There a code that differs in a row whose margins are all above the near-tie margin is an error. The exit
status is 1 if there is one.

    python benchmarks/serving/invariance.py --device cuda --rows 100000 --served-rows 0
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
from typing import Any

import numpy as np
import onnxruntime

from models.repository import Repository
from service.engine import Engine
from service.settings import Device

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
    parser.add_argument("--device", choices=["cpu", "cuda", "tensorrt"], default="cpu")
    parser.add_argument(
        "--near-tie-margin", type=float, help="below it a code may differ; by default 0 on the CPU, 0.0001 elsewhere"
    )
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    report = {
        "machine": f"{platform.processor() or platform.machine()}, ONNX Runtime {onnxruntime.__version__}",
        "device": options.device,
        "batch_sizes": [1, *SIZES],
        "models": {
            name: in_process(name, options.rows, options.device, options.near_tie_margin)
            for name in Repository(SHIPPED).names()
        },
    }
    if options.served_rows:
        report["served"] = {
            name: served(name, options.served_rows, options.device) for name in Repository(SHIPPED).names()
        }
    print(json.dumps(report, indent=1))
    if options.results:
        options.results.write_text(json.dumps(report, indent=1) + "\n")
    counted = [*report["models"].values(), *report.get("served", {}).values()]
    # In the service rows of different batches meet, and which of them are near ties is not asked there.
    wrong = "differing" if options.device == "cpu" else "firm"
    return int(any(count for each in counted for name, count in each.items() if name.startswith(wrong)))


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


def in_process(name: str, num_rows: int, device: Device, near_tie_margin: float | None) -> dict[str, Any]:
    """Rows whose codes differ from those of batches of 256, by temperature, and how many of those are no near ties; and
    how far logits were from theirs.
    """
    engine = Engine.load(
        Repository(SHIPPED).read(name), device=device, max_rows_per_run=max(SIZES), near_tie_margin=near_tie_margin
    )
    counts = ("rows", "near_ties", "near_tie_rows", "differing_at_0", "differing_at_1", "differing_permuted")
    found: dict[str, Any] = {"provider": engine.provider} | dict.fromkeys((*counts, "firm_but_differing"), 0)
    found["near_tie_margin"] = engine.near_tie_margin
    largest = 0.0
    for chunk, start in enumerate(range(0, num_rows, CHUNK)):
        rows = rows_of(engine, chunk, min(CHUNK, num_rows - start))
        numbers = np.arange(start, start + len(rows))
        found["rows"] += len(rows)
        for temperature in (0.0, 1.0):
            expected = encode(engine, rows, numbers, 256, temperature)
            differs = np.zeros(len(rows), bool)
            for size in SIZES:
                differs_here = (encode(engine, rows, numbers, size, temperature) != expected).any(axis=1)
                found[f"differing_at_{temperature:g}"] += int(differs_here.sum())
                differs |= differs_here
            for at in range(0, len(rows), SINGLE_EVERY):
                alone = encode(engine, rows[at : at + 1], numbers[at:], 1, temperature)
                differs_alone = bool((alone[0] != expected[at]).any())
                found[f"differing_at_{temperature:g}"] += differs_alone
                differs[at] |= differs_alone
            found["firm_but_differing"] += _firm(engine, rows[differs], numbers[differs], temperature)
        order = np.random.Generator(np.random.Philox(key=chunk + 1)).permutation(len(rows))
        permuted = encode(engine, rows[order], numbers, 256, 0.0)
        firm = engine.encode(rows, outputs=("codes", "margins", "near_ties"))
        differs = (permuted != firm.codes[order]).any(axis=1)
        found["differing_permuted"] += int(differs.sum())
        found["firm_but_differing"] += int((differs & ~firm.near_ties[order]).sum())
        found["near_ties"] += int((firm.margins < 1e-4).sum())
        found["near_tie_rows"] += int(firm.near_ties.sum())
        largest = max(largest, _largest_difference(engine, rows[: CHUNK // 10], order))
    return found | {"largest_logit_difference": largest, "margin_needed": 2 * largest}


def _firm(engine: Engine, rows: np.ndarray, numbers: np.ndarray, temperature: float) -> int:
    """How many of these rows are no near ties."""
    return sum(
        not engine.encode(
            row[None], temperature=temperature, seed=SEED, first_row=int(number), outputs=("near_ties",)
        ).near_ties[0]
        for row, number in zip(rows, numbers, strict=True)
    )


def _largest_difference(engine: Engine, rows: np.ndarray, order: np.ndarray) -> float:
    """Of a logit from what it is in batches of 256: in other sizes, alone, and in another order."""

    def logits(rows: np.ndarray, size: int) -> np.ndarray:
        pieces = [engine.encode(rows[at : at + size], outputs=("logits",)).logits for at in range(0, len(rows), size)]
        return np.concatenate(pieces)

    expected = logits(rows, 256)
    order = order[order < len(rows)]
    differences = [np.abs(logits(rows, size) - expected).max() for size in SIZES]
    differences.append(np.abs(logits(rows[::SINGLE_EVERY], 1) - expected[::SINGLE_EVERY]).max())
    differences.append(np.abs(logits(rows[order], 256) - expected[order]).max())
    return float(max(differences))


def served(name: str, num_rows: int, device: Device) -> dict[str, int]:
    """Rows whose codes the service gives otherwise: two workers, started twice, eight connections at once."""
    engine = Engine.load(Repository(SHIPPED).read(name), device=device, max_rows_per_run=256)
    rows = np.concatenate([rows_of(engine, chunk, CHUNK) for chunk in range(-(-num_rows // CHUNK))])[:num_rows]
    expected = encode(engine, rows, np.arange(num_rows), 256, 1.0)
    found = {"rows": 2 * num_rows, "differing": 0}
    cuts = np.cumsum(np.random.Generator(np.random.Philox(key=0)).integers(1, 200, num_rows))
    bounds = [0, *cuts[cuts < num_rows].tolist(), num_rows]
    for _ in range(2):
        with running(device) as url, ThreadPoolExecutor(8) as callers:
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
def running(device: Device, **others: object) -> Iterator[str]:
    """The service over the shipped models, with two workers, or as other settings say."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"PORT": port, "WORKERS": 2, "MODEL_REPOSITORIES": SHIPPED, "LOG_LEVEL": "warning", "DEVICE": device}
    settings |= others
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
