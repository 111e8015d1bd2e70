"""Rows a second of `latent-codes bulk encode`, beside ONNX Runtime alone in one process.

    python benchmarks/bulk/run.py --results benchmarks/bulk/results.json

The floor is the shipped model's encoder in one session of one thread, over the same rows in memory, 1,024 at a time: no
file is read, nothing is checked and nothing is written. A job reads its rows from a file, checks every value, encodes,
and writes codes with names and checksums. Rates are those of a job under way: of the later half of its parts, by the
times of their receipts, so without starting and loading the model; `whole_seconds` has all of it.

What it takes to read the rows into memory is measured alone too, of Parquet with Arrow: no job can do without it.
`share_of_floor_per_core` is against both together.

The floor is measured once more before every job, on a machine that may be shared; of each, the best of the rounds.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq

from models.repository import Repository, StoredModel
from service import bulk
from service.bulk.jobs import RECEIPTS
from service.bulk.work import ROWS_PER_RUN

ROOT = Path(__file__).parents[2]
MODELS = ("mnist-binary", "mnist-categorical")
_ROWS_PER_GROUP = 8_192
_ROWS_AT_ONCE = 4_096


def main() -> None:
    """Measure and write."""
    arguments = _arguments()
    report: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0))},
        "versions": {name: version(name) for name in ("numpy", "onnxruntime", "pyarrow", "ray")},
        "rows": arguments.rows,
        "rows_per_part": arguments.rows_per_part,
        "rounds": arguments.rounds,
        "models": {},
    }
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        for name in arguments.models:
            stored = Repository(ROOT / "models" / "shipped").read(name)
            rows = np.random.default_rng(1).random((arguments.rows, stored.manifest.input.size), np.float32)
            sources = _sources(Path(scratch) / name, rows)
            report["models"][name] = _measure(stored, rows, sources, Path(scratch) / "codes", arguments)
            shutil.rmtree(Path(scratch) / name)
    text = json.dumps(report, indent=1) + "\n"
    print(text, end="")
    if arguments.results is not None:
        arguments.results.write_text(text, encoding="utf-8")


def _measure(
    stored: StoredModel, rows: np.ndarray, sources: dict[str, Path], codes: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    floor = _floor(stored)
    raw = 0.0
    reading = dict.fromkeys(sources, 0.0)
    best: dict[tuple[str, int], dict[str, float]] = {}
    for _ in range(arguments.rounds):
        for source, path in sources.items():
            reading[source] = max(reading[source], _reading(path))
            for num_workers in arguments.workers:
                raw = max(raw, floor(rows))
                one = _job(stored, path, codes, num_workers, arguments.rows_per_part)
                if (
                    one["rows_per_second"]
                    > best.get((source, num_workers), {"rows_per_second": 0.0})["rows_per_second"]
                ):
                    best[source, num_workers] = one
    return {
        "onnxruntime_rows_per_second": raw,
        "reading_rows_per_second": reading,
        "jobs": [
            {
                "source": source,
                "workers": num_workers,
                **one,
                "share_of_onnxruntime_per_core": one["rows_per_second"] / raw / max(1, num_workers),
                "share_of_floor_per_core": one["rows_per_second"]
                * (1 / raw + 1 / reading[source])
                / max(1, num_workers),
            }
            for (source, num_workers), one in best.items()
        ],
    }


def _sources(folder: Path, rows: np.ndarray) -> dict[str, Path]:
    """The same rows in every form: an array; lists of one length; lists of any."""
    folder.mkdir()
    np.save(folder / "rows.npy", rows)
    values = pa.array(rows.reshape(-1))
    lists = {
        "fixed.parquet": pa.FixedSizeListArray.from_arrays(values, rows.shape[1]),
        "lists.parquet": pa.ListArray.from_arrays(np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32), values),
    }
    for name, column in lists.items():
        pq.write_table(
            pa.table({"inputs": column}), folder / name, row_group_size=_ROWS_PER_GROUP, use_dictionary=False
        )
    return {
        ".npy": folder / "rows.npy",
        "Parquet, lists of one length": folder / "fixed.parquet",
        "Parquet, lists": folder / "lists.parquet",
    }


def _floor(stored: StoredModel) -> Callable[[np.ndarray], float]:
    """Rows a second of the encoder alone, over rows [B, D] in memory."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(stored.folder / "encoder.onnx", options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    shape = stored.manifest.input.shape

    def measure(rows: np.ndarray) -> float:
        inputs = rows.reshape(-1, *shape) if len(session.get_inputs()[0].shape) > 2 else rows
        session.run(["codes"], {name: inputs[:ROWS_PER_RUN]})
        started = time.perf_counter()
        for start in range(0, len(inputs), ROWS_PER_RUN):
            session.run(["codes"], {name: inputs[start : start + ROWS_PER_RUN]})
        return len(inputs) / (time.perf_counter() - started)

    return measure


def _reading(source: Path) -> float:
    """Rows a second of reading a file into memory, 4,096 at a time."""
    num_rows = 0
    started = time.perf_counter()
    if source.suffix == ".npy":
        array = np.load(source, mmap_mode="r")
        for start in range(0, len(array), _ROWS_AT_ONCE):
            num_rows += len(np.array(array[start : start + _ROWS_AT_ONCE]))
    else:
        for batch in pq.ParquetFile(source).iter_batches(_ROWS_AT_ONCE, use_threads=False):
            num_rows += len(np.asarray(batch.column(0).flatten()).reshape(len(batch), -1))
    return num_rows / (time.perf_counter() - started)


def _job(stored: StoredModel, source: Path, codes: Path, num_workers: int, rows_per_part: int) -> dict[str, float]:
    """One job in a process of its own, and what it came to."""
    command = [sys.executable, __file__, "--job", str(source), str(codes), str(stored.folder), str(num_workers)]
    finished = subprocess.run(
        [*command, "--rows-per-part", str(rows_per_part)], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    shutil.rmtree(codes)
    return json.loads(finished.stdout)


def _run_job(source: str, codes: str, model: str, num_workers: int, rows_per_part: int) -> None:
    """In the process of a job: do it, and print what it took."""
    folder = Path(model)
    stored = Repository(folder.parents[1]).read(folder.parent.name)
    started = time.perf_counter()
    report = bulk.run(
        "encode",
        source,
        codes,
        stored,
        num_workers=num_workers,
        rows_per_part=rows_per_part,
        device="cpu",
    )
    if report.num_bad:
        raise SystemExit(f"{report.num_bad} rows could not be encoded, of a source that has none that are bad")
    whole = time.perf_counter() - started
    receipts = sorted(path.stat().st_mtime_ns for path in (Path(codes) / RECEIPTS).iterdir())
    half = len(receipts) // 2
    seconds = (receipts[-1] - receipts[half - 1]) / 1e9
    print(json.dumps({"rows_per_second": (len(receipts) - half) * rows_per_part / seconds, "whole_seconds": whole}))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rows", type=int, default=262_144, help="default: %(default)s")
    parser.add_argument("--rows-per-part", type=int, default=8_192, help="default: %(default)s")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2], help="0: without Ray; default: 0 1 2")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--scratch", type=Path, help="where the rows are written; default: the temporary folder")
    parser.add_argument("--results", type=Path, help="JSON file to write")
    parser.add_argument("--job", nargs=4, metavar=("SOURCE", "CODES", "MODEL", "WORKERS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job is not None:
        source, codes, model, num_workers = arguments.job
        _run_job(source, codes, model, int(num_workers), arguments.rows_per_part)
        raise SystemExit
    if arguments.rows < 4 * arguments.rows_per_part * max(1, *arguments.workers):
        parser.error("--rows: expected at least four parts a worker")
    if arguments.rows % arguments.rows_per_part:
        parser.error("--rows: expected a multiple of --rows-per-part")
    return arguments


if __name__ == "__main__":
    main()
