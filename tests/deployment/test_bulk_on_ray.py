"""Bulk jobs over workers: the same files as one process writes, also when a worker is killed on the way."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bulk_datasets import bytes_in
from tiny_models import TINY_CATEGORICAL

from models.repository import Repository, StoredModel
from service import bulk
from service.errors import JobFailed, JobRefused

pytestmark = [
    pytest.mark.slow,
    # Ray uses what it has deprecated itself, and starts processes whose pipes it leaves to the collector.
    pytest.mark.filterwarnings("default::DeprecationWarning"),
    pytest.mark.filterwarnings("default::ResourceWarning"),
]

NUM_ROWS, ROWS_PER_PART = 120_000, 5_000


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """What Ray leaves is collected here, and not in a test that comes next and takes warnings for errors."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def stored(tiny_repository: Path) -> StoredModel:
    return Repository(tiny_repository).read(TINY_CATEGORICAL.name)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, TINY_CATEGORICAL.inputs(NUM_ROWS))
    return path


@pytest.fixture(scope="module")
def expected(rows: Path, stored: StoredModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("expected") / "codes"
    bulk.run("encode", str(rows), str(folder), stored, temperature=1.0, seed=8, rows_per_part=ROWS_PER_PART)
    return bytes_in(folder)


def workers() -> list[int]:
    """Processes of the actors that this process's Ray runs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if command.startswith(b"ray::") and b"MapWorker" in command and is_ours(int(folder.name)):
            found.append(int(folder.name))
    return found


def is_ours(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:  # it has just ended
            return False
        pid = int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])
    return False


def test_two_workers_one_of_them_killed_write_the_files_of_one_process(
    tmp_path: Path, rows: Path, stored: StoredModel, expected: dict[str, bytes]
) -> None:
    killed: list[int] = []

    def kill_one(done: int, _of: int) -> None:
        if done and not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    report = bulk.run(
        "encode",
        str(rows),
        str(tmp_path / "codes"),
        stored,
        temperature=1.0,
        seed=8,
        rows_per_part=ROWS_PER_PART,
        num_workers=2,
        on_progress=kill_one,
    )
    assert killed
    assert (report.num_rows, report.num_bad) == (NUM_ROWS, 0)
    found = bytes_in(tmp_path / "codes")
    assert {name: found[name] for name in found if not name.startswith("_job")} == {
        name: expected[name] for name in expected if not name.startswith("_job")
    }


def test_a_worker_that_cannot_write_ends_the_job_in_one_sentence(
    tmp_path: Path, rows: Path, stored: StoredModel
) -> None:
    (tmp_path / "codes").mkdir()
    job = {"temperature": 1.0, "seed": 8, "rows_per_part": ROWS_PER_PART}

    def obstruct(done: int, _of: int) -> None:
        if not done:
            (tmp_path / "codes" / "part-000000.parquet" / "full").mkdir(parents=True)

    with pytest.raises(JobFailed, match=r"codes: cannot be written: .*part-000000"):
        bulk.run("encode", str(rows), str(tmp_path / "codes"), stored, num_workers=1, on_progress=obstruct, **job)


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path: Path, rows: Path, stored: StoredModel) -> None:
    with pytest.raises(JobRefused, match=r"no Ray cluster at 127\.0\.0\.1:1: "):
        bulk.run("encode", str(rows), str(tmp_path / "codes"), stored, num_workers=1, address="127.0.0.1:1")


def test_gpus_that_are_not_there_are_not_waited_for(tmp_path: Path, rows: Path, stored: StoredModel) -> None:
    with pytest.raises(JobRefused, match="a worker wants 1 GPU, and Ray has 0"):
        bulk.run("encode", str(rows), str(tmp_path / "codes"), stored, num_workers=1, gpus_per_worker=1)
