"""What a bulk job was asked to do and how far it is, written beside its results so that it can go on.

_job.json                   the job; one that is begun again must be the same
part-000000.parquet         results of a part
_receipts/part-000000.json  that the part is done, with what could not be: written last
_errors.jsonl               a line for every row or file that could not be done; only where there are such

What begins with an underscore is passed over by those who read a folder of Parquet as one table.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

from service.bulk.destination import Destination
from service.bulk.rows import BadRows
from service.bulk.sources import BadFile, Part, Source, first_line
from service.errors import JobRefused

Operation = Literal["encode", "decode"]

JOB, ERRORS, RECEIPTS = "_job.json", "_errors.jsonl", "_receipts"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that the results depend on. `fingerprint` is the source's."""

    operation: Operation
    source: str
    fingerprint: str
    model: str
    version: int
    manifest_sha256: str
    rows_per_part: int
    column: str = "inputs"
    temperature: float = 0.0
    seed: int | None = None
    format_version: int = FORMAT_VERSION

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Raises ValueError when the text is not that of a job."""
        found = json.loads(text)
        expected = {field.name for field in fields(cls)}
        if not isinstance(found, dict) or set(found) != expected:
            raise ValueError(f"expected an object with {', '.join(sorted(expected))}")
        return cls(**found)


@dataclass(frozen=True)
class Receipt:
    """That a part is done: how many rows its file has, its size in bytes, and what could not be done."""

    part: int
    num_rows: int
    size_bytes: int
    bad: tuple[BadRows, ...]

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Raises ValueError, KeyError or TypeError when the text is not that of a receipt."""
        found = json.loads(text)
        return cls(found["part"], found["num_rows"], found["size_bytes"], tuple(BadRows(**bad) for bad in found["bad"]))


def part_name(index: int) -> str:
    return f"part-{index:06d}.parquet"


def receipt_name(index: int) -> str:
    return f"{RECEIPTS}/part-{index:06d}.json"


def begin(job: Job, destination: Destination, *, seed_is_open: bool) -> Job:
    """The job to do in this destination: this one, or the same that was begun before.

    With `seed_is_open` the seed was drawn and not asked for: that of the job begun before takes its place.

    Raises JobRefused when the destination holds another job, or files that are not a job's.
    """
    try:
        text = destination.read(JOB)
        if text is None:
            if strangers := sorted(destination.sizes()):
                raise JobRefused(
                    f"{destination.uri}: expected an empty folder, or one in which this job was begun; "
                    f"found {strangers[0]}"
                )
            destination.write(JOB, job.to_json())
            return job
        begun = Job.from_json(text)
    except (OSError, ValueError) as error:
        raise JobRefused(f"{destination.uri}: {JOB} cannot be read or written: {first_line(error)}") from error
    wanted = replace(job, seed=begun.seed) if seed_is_open else job
    for field in fields(Job):
        before, now = getattr(begun, field.name), getattr(wanted, field.name)
        if before != now:
            what = f"{now!r} is asked for now"
            if field.name == "fingerprint":
                what = "the files of the source have changed"
            raise JobRefused(
                f"{destination.uri}: holds a job with {field.name} {before!r}, and {what}; finish that one, or name "
                "another destination"
            )
    return begun


def receipts(destination: Destination, parts: Iterable[Part]) -> dict[int, Receipt]:
    """Receipts of the parts that are done, by number: those whose file is there, in the size it was written."""
    files, written = destination.sizes(), destination.sizes(RECEIPTS)
    found = {}
    for part in parts:
        if part_name(part.index) not in files or f"part-{part.index:06d}.json" not in written:
            continue
        try:
            receipt = Receipt.from_json(destination.read(receipt_name(part.index)) or b"")
        except (ValueError, KeyError, TypeError):
            continue  # it is written again with the part
        if receipt.part == part.index and receipt.size_bytes == files[part_name(part.index)]:
            found[part.index] = receipt
    return found


def delete_unfinished(destination: Destination) -> None:
    """Remove what workers that were killed have left beside the results, once all parts are done. Raises OSError."""
    for folder in ("", RECEIPTS):
        destination.delete_unfinished(folder)


def write_errors(destination: Destination, source: Source, done: dict[int, Receipt]) -> int:
    """Keep what could not be done, in the order of the source, and say how many lines that are. Raises OSError."""
    entries: list[dict[str, Any]] = [_bad_file(bad) for bad in source.bad]
    for index in sorted(done):
        entries += (asdict(bad) for bad in done[index].bad)
    if entries:
        destination.write(ERRORS, b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
    else:
        destination.delete(ERRORS)
    return len(entries)


def _bad_file(bad: BadFile) -> dict[str, Any]:
    return {"file": bad.path, "cause": bad.cause}
