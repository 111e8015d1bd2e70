"""Rows a second of `latent-codes bulk encode`, beside ONNX Runtime alone.

    python benchmarks/bulk/run.py --results benchmarks/bulk/results.json

The floor is the shipped model's encoder in one session of one thread in one process, over the same rows in memory, as
many at a time as a job runs: no file is read, nothing is checked and nothing is written. So many such processes at once
say how far the machine itself grows. A job reads its rows from a file, checks every value, encodes, and writes codes
with their rows' numbers and checksums. Rates are those of a job under way: of the later half of its parts, by the times
of their receipts, so without starting and loading the model; `whole_seconds` has all of it.

`cores_busy` says what that took of the processors: in the processes that do the parts, and in all others that the job
has (the command itself and, with workers, Ray's).

What it takes to read the rows into memory is measured alone too: no job can do without it. `share_of_floor_per_core` is
against both together.

A machine that others share is not equally fast all the time: the floor is measured before and after every job, a job's
share is of the mean of the two, and of the rounds the one with the median share is shown.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
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
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from models.repository import Repository, StoredModel
from service import bulk
from service.bulk import npy
from service.bulk.jobs import RECEIPTS
from service.bulk.rows import ROWS_PER_BATCH
from service.bulk.work import ROWS_PER_RUN

ROOT = Path(__file__).parents[2]
MODELS = ("mnist-binary", "mnist-categorical")
_ROWS_PER_GROUP = 8_192
_FLOOR_ROWS = 131_072
_SECONDS_TO_BEGIN, _SECONDS_AT_ONCE = 5.0, 2.0


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
            report["models"][name] = _measure(stored, rows, Path(scratch), arguments)
    text = json.dumps(report, indent=1) + "\n"
    print(text, end="")
    if arguments.results is not None:
        arguments.results.write_text(text, encoding="utf-8")


def _measure(stored: StoredModel, rows: np.ndarray, scratch: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    floor = _floor(stored)
    floors: list[float] = []
    jobs = []
    reading: dict[str, float] = {}
    for source in arguments.sources:
        path = _SOURCES[source](scratch / "rows", rows)
        # Whatever is written to the disk behind our back would be part of the first rates.
        os.sync()
        rounds: dict[int, list[dict[str, Any]]] = {num_workers: [] for num_workers in arguments.workers}
        read = []
        for _ in range(arguments.rounds):
            read.append(_reading(path))
            before = floor(rows[:_FLOOR_ROWS])
            for num_workers in arguments.workers:
                one = _job(stored, path, scratch / "codes", num_workers, arguments.rows_per_part)
                after = floor(rows[:_FLOOR_ROWS])
                share = one["rows_per_second"] / (before + after) * 2 / max(1, num_workers)
                rounds[num_workers].append(one | {"share_of_onnxruntime_per_core": share})
                floors.append(before)
                before = after
        path.unlink()
        reading[source] = statistics.median(read)
        for num_workers, of_all in rounds.items():
            middle = sorted(of_all, key=lambda one: one["share_of_onnxruntime_per_core"])[len(of_all) // 2]
            shares = [one["share_of_onnxruntime_per_core"] for one in of_all]
            jobs.append({"source": source, "workers": num_workers, **middle, "shares_of_rounds": shares})
    raw = statistics.median(floors)
    for job in jobs:
        job["share_of_floor_per_core"] = job["share_of_onnxruntime_per_core"] * (1 + raw / reading[job["source"]])
    return {
        "onnxruntime_rows_per_second": raw,
        "onnxruntime_rows_per_second_range": [min(floors), max(floors)],
        "onnxruntime_rows_per_second_of_processes": {
            number: statistics.median(_floors_at_once(stored, number) for _ in range(arguments.rounds))
            for number in sorted({1, *arguments.workers} - {0})
        },
        "reading_rows_per_second": reading,
        "jobs": jobs,
    }


def _npy(path: Path, rows: np.ndarray) -> Path:
    path = path.with_suffix(".npy")
    np.save(path, rows)
    return path


def _bytes(path: Path, rows: np.ndarray) -> Path:
    kind = pa.binary(rows[0].nbytes)
    return _parquet(path, pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)]))


def _pixels(path: Path, rows: np.ndarray) -> Path:
    return _bytes(path, (rows * 255).astype(np.uint8))


def _lists(path: Path, rows: np.ndarray, *, nullable: bool = True) -> Path:
    size = rows.shape[1]
    offsets = pa.array(np.arange(0, (_ROWS_PER_GROUP + 1) * size, size, dtype=np.int32))
    kind = pa.list_(pa.field("element", pa.float32(), nullable=nullable))
    groups = (
        pa.array(rows[start : start + _ROWS_PER_GROUP].reshape(-1)) for start in range(0, len(rows), _ROWS_PER_GROUP)
    )
    lists = [pa.ListArray.from_arrays(offsets[: len(group) // size + 1], group, type=kind) for group in groups]
    return _parquet(path, pa.chunked_array(lists), nullable=nullable)


def _lists_without_missing_values(path: Path, rows: np.ndarray) -> Path:
    return _lists(path, rows, nullable=False)


def _parquet(path: Path, column: pa.Array | pa.ChunkedArray, *, nullable: bool = True) -> Path:
    path = path.with_suffix(".parquet")
    schema = pa.schema([pa.field("inputs", column.type, nullable=nullable)])
    table = pa.table([column], schema=schema)
    pq.write_table(table, path, row_group_size=_ROWS_PER_GROUP, use_dictionary=False)
    return path


_SOURCES: dict[str, Callable[[Path, np.ndarray], Path]] = {
    ".npy": _npy,
    "Parquet, bytes of float32": _bytes,
    "Parquet, bytes of pixels": _pixels,
    "Parquet, lists of which none is missing": _lists_without_missing_values,
    "Parquet, lists": _lists,
}
"""The same rows in every form; of pixels, rounded to 8 bits."""


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


def _floors_at_once(stored: StoredModel, num_processes: int) -> float:
    """Rows a second of so many processes together, each with the encoder alone."""
    begin = time.time() + _SECONDS_TO_BEGIN
    command = [sys.executable, __file__, "--floor", str(stored.folder), str(begin)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(num_processes)]
    return sum(float(process.communicate()[0]) for process in running)


def _run_floor(model: str, begin: float) -> None:
    """In the process of a floor: for a while from a moment on, which is the same for all."""
    stored = _stored(model)
    rows = np.random.default_rng(1).random((_FLOOR_ROWS // 8, stored.manifest.input.size), np.float32)
    floor = _floor(stored)
    floor(rows)
    if time.time() > begin:
        raise SystemExit("the processes of the floor did not begin at once: the machine is too busy")
    time.sleep(begin - time.time())
    started, num_rows = time.perf_counter(), 0
    while time.perf_counter() < started + _SECONDS_AT_ONCE:
        floor(rows)
        num_rows += len(rows)
    print(num_rows / (time.perf_counter() - started))


def _stored(folder: str) -> StoredModel:
    return Repository(Path(folder).parents[1]).read(Path(folder).parent.name)


def _reading(source: Path) -> float:
    """Rows a second of reading a file into memory, as a job reads it."""
    num_rows = 0
    started = time.perf_counter()
    with pafs.LocalFileSystem().open_input_file(str(source)) as file:
        if source.suffix == ".npy":
            layout = npy.read_layout(file, file.size())
            for rows in npy.read_rows(file, layout, 0, layout.header.num_rows, ROWS_PER_BATCH):
                num_rows += len(rows)
        else:
            for batch in pq.ParquetFile(file).iter_batches(ROWS_PER_BATCH, use_threads=False):
                num_rows += len(batch)
    return num_rows / (time.perf_counter() - started)


def _job(stored: StoredModel, source: Path, codes: Path, num_workers: int, rows_per_part: int) -> dict[str, Any]:
    """One job in a process of its own, and what it came to."""
    command = [sys.executable, __file__, "--job", str(source), str(codes), str(stored.folder), str(num_workers)]
    finished = subprocess.run(
        [*command, "--rows-per-part", str(rows_per_part)], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    shutil.rmtree(codes)
    return json.loads(finished.stdout)


def _run_job(source: str, codes: str, model: str, num_workers: int, rows_per_part: int) -> None:
    """In the process of a job: do it, and print what it took."""
    stored = _stored(model)
    taken = []

    def note(done: int, of: int) -> None:
        if done >= of or (done >= of // 2 and not taken):
            taken.append((time.perf_counter(), _processor_seconds(num_workers)))

    started = time.perf_counter()
    report = bulk.run(
        "encode",
        source,
        codes,
        stored,
        num_workers=num_workers,
        rows_per_part=rows_per_part,
        device="cpu",
        on_progress=note,
    )
    if report.num_bad:
        raise SystemExit(f"{report.num_bad} rows could not be encoded, of a source that has none that are bad")
    whole = time.perf_counter() - started
    receipts = sorted(path.stat().st_mtime_ns for path in (Path(codes) / RECEIPTS).iterdir())
    half = len(receipts) // 2
    seconds = (receipts[-1] - receipts[half - 1]) / 1e9
    (begun, before), (ended, after) = taken[0], taken[-1]
    doing, beside = ((now - then) / (ended - begun) for then, now in zip(before, after, strict=True))
    print(
        json.dumps(
            {
                "rows_per_second": (len(receipts) - half) * rows_per_part / seconds,
                "whole_seconds": whole,
                "cores_busy": {"doing_parts": doing, "beside": beside},
            }
        )
    )


def _processor_seconds(num_workers: int) -> tuple[float, float]:
    """What this process and those below it have taken by now: those that do parts, and the others."""
    children: dict[int, list[int]] = {}
    seconds: dict[int, tuple[bool, float]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(") ")
        except OSError:  # it has ended
            continue
        fields = rest.split()
        pid = int(folder.name)
        children.setdefault(int(fields[1]), []).append(pid)
        does_parts = "MapWorker" in name if num_workers else pid == os.getpid()
        seconds[pid] = does_parts, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    doing = beside = 0.0
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        does_parts, taken = seconds.get(pid, (False, 0.0))
        doing, beside = (doing + taken, beside) if does_parts else (doing, beside + taken)
    return doing, beside


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="*", choices=MODELS, default=["mnist-binary"])
    parser.add_argument("--rows", type=int, default=524_288, help="default: %(default)s")
    parser.add_argument("--rows-per-part", type=int, default=65_536, help="default: %(default)s")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2], help="0: without Ray; default: 0 1 2")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--scratch", type=Path, help="where the rows are written; default: the temporary folder")
    parser.add_argument("--results", type=Path, help="JSON file to write")
    parser.add_argument("--sources", nargs="*", choices=list(_SOURCES), default=list(_SOURCES), help="default: all")
    parser.add_argument("--floor", nargs=2, metavar=("MODEL", "BEGIN"), help=argparse.SUPPRESS)
    parser.add_argument("--job", nargs=4, metavar=("SOURCE", "CODES", "MODEL", "WORKERS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.floor is not None:
        model, begin = arguments.floor
        _run_floor(model, float(begin))
        raise SystemExit
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
