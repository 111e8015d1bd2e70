"""Datasets of any size to codes and back, by as many workers as there are: what `latent-codes bulk` does.

    report = run("encode", "photos/", "photos-codes/", stored, num_workers=2)

A source is cut into parts (`sources`); a worker reads the rows of a part (`rows`), encodes or decodes them and writes a
file and a receipt (`work`, `destination`); `cluster` hands parts to workers; `jobs` is what is on disk, so that a job
that ended early goes on where it was. The codes are those of the service for the same rows, row numbers and seed.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from models.codefile import CodeFile
from models.errors import CodeFileError, WrongModel, cause_of
from models.noise import MAX_SEED
from models.repository import StoredModel
from service.bulk import cluster, jobs
from service.bulk.destination import Destination
from service.bulk.jobs import Job, Operation
from service.bulk.sources import first_line, open_source
from service.bulk.work import Assignment
from service.errors import JobFailed, JobRefused
from service.settings import Device

ROWS_PER_PART = 1 << 16


@dataclass(frozen=True)
class Report:
    """What a run of a job came to. `num_bad` rows and files are told in the destination's `_errors.jsonl`."""

    num_rows: int
    num_parts: int
    num_parts_done_before: int
    num_bad: int


def run(
    operation: Operation,
    source_uri: str,
    destination_uri: str,
    stored: StoredModel,
    *,
    temperature: float = 0.0,
    seed: int | None = None,
    column: str = "inputs",
    rows_per_part: int = ROWS_PER_PART,
    num_workers: int = 0,
    gpus_per_worker: float = 0,
    address: str | None = None,
    device: Device = "auto",
    on_progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Report:
    """Do what is left of a job, or all of it. `num_workers` 0 is this process, without Ray.

    `on_progress` hears how many of how many rows are behind. Raises JobRefused before anything is done, JobFailed when
    a result cannot be written; what is done by then stays done.
    """
    source = open_source(source_uri) if operation == "encode" else open_source(source_uri, _codes_of(stored))
    destination = Destination(destination_uri)
    wanted = Job(
        operation=operation,
        source=source_uri,
        fingerprint=source.fingerprint,
        model=stored.manifest.name,
        version=stored.manifest.version,
        manifest_sha256=stored.manifest_sha256,
        rows_per_part=rows_per_part,
        column=column,
        temperature=temperature,
        # At temperature 0 nothing is drawn.
        seed=None if temperature == 0 else secrets.randbelow(MAX_SEED + 1) if seed is None else seed,
    )
    job = jobs.begin(wanted, destination, seed_is_open=seed is None)
    parts = source.parts(rows_per_part)
    done = jobs.receipts(destination, parts)
    done_before = len(done)
    left = [part for part in parts if part.index not in done]
    behind = sum(part.num_rows for part in parts if part.index in done)
    on_progress(behind, source.num_rows)
    given = Assignment(job, source, tuple(left), stored, destination_uri, device)
    try:
        if num_workers == 0 or not left:
            receipts = cluster.in_this_process(given)
        else:
            receipts = cluster.on_ray(given, num_workers=num_workers, gpus_per_worker=gpus_per_worker, address=address)
        for receipt in receipts:
            done[receipt.part] = receipt
            behind += parts[receipt.part].num_rows
            on_progress(behind, source.num_rows)
        jobs.delete_unfinished(destination)
        num_bad = jobs.write_errors(destination, source, done)
    except OSError as error:
        raise JobFailed(f"{destination_uri}: cannot be written: {_told(error)}; started again, it goes on") from error
    return Report(sum(receipt.num_rows for receipt in done.values()), len(parts), done_before, num_bad)


def _told(error: OSError) -> str:
    """What the system said, of which file, and what to do; or what a storage that is no system's said."""
    if error.errno is None:
        return first_line(error)
    return f"{error.filename}: {cause_of(error)}" if error.filename else cause_of(error)


def _codes_of(stored: StoredModel) -> Callable[[pa.NativeFile, str], tuple[int, ...]]:
    """Rows of each row group of a file of this model's codes."""

    def count(stream: pa.NativeFile, path: str) -> tuple[int, ...]:
        try:
            with CodeFile(stream, name=path) as file:
                file.provenance.require_model(stored.manifest.name, stored.manifest.version, stored.manifest_sha256)
                return file.rows_per_group
        except WrongModel as error:
            raise JobRefused(f"{path}: {error}") from error
        except CodeFileError as error:
            raise ValueError(str(error)) from error

    return count
