"""One part of a bulk job: its rows in, a file and a receipt out. Knows nothing of the others, nor of who runs it."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.codefile import CodeFile, CodeFileWriter, Provenance
from models.errors import CodeFileError
from models.repository import StoredModel
from service import images
from service.bulk.destination import Destination
from service.bulk.jobs import Job, Receipt, part_name, receipt_name
from service.bulk.rows import ROWS_PER_BATCH, BadRows, Batch, ReadImage, RowReader, row_groups
from service.bulk.sources import Part, Source, filesystem_of, first_line, relative
from service.engine import Engine
from service.errors import InvalidFields
from service.loading import opened
from service.providers import CPU
from service.settings import Device, Settings

ROWS_PER_RUN = 256
"""Rows in one run of a graph on the CPU: enough for the matrix products, and what they leave stays in the cache."""
_GPU_ROWS_PER_RUN = 1024
MAX_IMAGE_PIXELS = 1 << 26
"""Of one image: the 8192 x 8192 pixels of a large photograph."""
OUTPUTS = "outputs"
OUTPUTS_METADATA_KEY = b"latent_codes_outputs"


class Results(NamedTuple):
    """What became of some rows: an array [B, ...] for the file, and the rows' numbers and names."""

    array: NDArray[Any]
    numbers: NDArray[np.int64]
    ids: list[str] | None


class Operation(Protocol):
    """What is done with the rows of a part."""

    def results(self, part: Part) -> Iterator[Results | BadRows]:
        """Every row of the part once, in order."""

    def writer(self, file: BinaryIO, part: Part) -> AbstractContextManager["Writer"]:
        """Writes the results of a part into a file."""


class Writer(Protocol):
    """Takes results one after the other."""

    def add(self, results: Results) -> None: ...


@dataclass(frozen=True)
class Assignment:
    """All that a worker needs to know, wherever it runs: the model itself travels along."""

    job: Job
    source: Source
    parts: tuple[Part, ...]
    stored: StoredModel
    destination: str
    device: Device


class PartWorker:
    """Does parts of one job. Made once where the parts are done: it loads the model."""

    def __init__(self, given: Assignment) -> None:
        """Raises GraphRefused, DeviceUnavailable, or GoldenMismatch where this host would make other codes."""
        self._destination = Destination(given.destination)
        engine = opened(given.stored, Settings(device=given.device, max_batch_rows=_GPU_ROWS_PER_RUN))
        if engine.provider == CPU:
            engine.max_rows_per_run = ROWS_PER_RUN
        self._operation: Operation = (
            Encode(given.job, given.source, engine) if given.job.operation == "encode" else Decode(given.source, engine)
        )

    def do(self, part: Part) -> Receipt:
        """Write the part's file, then its receipt. The same part gives the same bytes. Raises OSError."""
        bad, num_rows = [], 0
        name = part_name(part.index)
        with self._destination.writing(name) as file:
            with self._operation.writer(file, part) as writer:
                for found in self._operation.results(part):
                    if isinstance(found, BadRows):
                        bad.append(found)
                    else:
                        writer.add(found)
                        num_rows += len(found.array)
            size_bytes = file.tell()
        receipt = Receipt(part.index, num_rows, size_bytes, tuple(bad))
        self._destination.write(receipt_name(part.index), receipt.to_json())
        return receipt


class Encode:
    """Inputs to codes, in files of codes with a column of row numbers."""

    def __init__(self, job: Job, source: Source, engine: Engine) -> None:
        filesystem, base = filesystem_of(source.uri)
        self._job = job
        self._engine = engine
        self._reader = RowReader(source, filesystem, base, engine.manifest.input, job.column, _image_reader(engine))
        self._has_ids = self._reader.has_ids

    def results(self, part: Part) -> Iterator[Results | BadRows]:
        for found in self._reader.read(part):
            if isinstance(found, BadRows):
                yield found
                continue
            for stretch in found.stretches():
                # The engine looks at every value: only where it takes offence is each row looked at.
                try:
                    encoded = self._encoded(stretch)
                except InvalidFields:
                    yield from self._without_misfits(stretch)
                else:
                    yield encoded

    def _without_misfits(self, batch: Batch) -> Iterator[Results | BadRows]:
        for found in self._reader.misfits(batch):
            if isinstance(found, BadRows):
                yield found
            else:
                yield from (self._encoded(stretch) for stretch in found.stretches())

    def _encoded(self, batch: Batch) -> Results:
        """Codes of rows whose numbers follow each other. Raises InvalidFields."""
        labels = batch.labels
        codes = self._engine.encode(
            batch.rows, temperature=self._job.temperature, seed=self._job.seed, first_row=int(labels.numbers[0])
        ).codes
        assert codes is not None
        return Results(codes, labels.numbers, labels.ids)

    def writer(self, file: BinaryIO, part: Part) -> "_CodeWriter":
        manifest = self._engine.manifest
        provenance = Provenance(
            model=manifest.name,
            version=manifest.version,
            manifest_sha256=self._engine.manifest_sha256,
            kind=manifest.kind,
            num_latents=manifest.num_latents,
            num_categories=manifest.num_categories,
            temperature=self._job.temperature,
            seed=self._job.seed,
            first_row=part.first_row,
        )
        return _CodeWriter(CodeFileWriter(file, provenance, has_ids=self._has_ids, has_rows=True))


class Decode:
    """Codes to outputs, in Parquet with a list of float32 a row."""

    def __init__(self, source: Source, engine: Engine) -> None:
        self._source = source
        self._engine = engine
        self._filesystem, self._base = filesystem_of(source.uri)

    def results(self, part: Part) -> Iterator[Results | BadRows]:
        first = part.first_row
        for each in part.slices:
            done = 0
            try:
                with self._filesystem.open_input_file(each.path) as stream, CodeFile(stream, name=each.path) as file:
                    about = self._engine.manifest
                    file.provenance.require_model(about.name, about.version, self._engine.manifest_sha256)
                    groups = row_groups(pq.ParquetFile(stream).metadata, each)
                    for batch in file.batches(ROWS_PER_BATCH, row_groups=groups):
                        numbers = np.arange(first + done, first + done + len(batch.codes))
                        outputs = self._engine.decode(batch.codes)
                        yield Results(outputs, numbers if batch.rows is None else batch.rows, batch.ids)
                        done += len(batch.codes)
            except (CodeFileError, pa.ArrowException, OSError) as error:
                # Whatever is left of the slice: pages carry checksums, and a file may have been cut off.
                name = relative(each.path, self._base)
                yield BadRows(name, each.start + done, each.stop, first + done, first_line(error))
            first += each.stop - each.start

    def writer(self, file: BinaryIO, part: Part) -> "_OutputWriter":
        manifest = self._engine.manifest
        has_ids = self._has_ids(part)
        fields = [pa.field(OUTPUTS, pa.list_(pa.float32(), manifest.input.size), nullable=False)]
        fields += [pa.field("id", pa.string(), nullable=False)] if has_ids else []
        fields += [pa.field("row", pa.int64(), nullable=False)]
        about = {
            "model": manifest.name,
            "version": manifest.version,
            "manifest_sha256": self._engine.manifest_sha256,
            "shape": list(manifest.input.shape),
        }
        return _OutputWriter(file, pa.schema(fields, metadata={OUTPUTS_METADATA_KEY: json.dumps(about).encode()}))

    def _has_ids(self, part: Part) -> bool:
        with self._filesystem.open_input_file(part.slices[0].path) as stream:
            return "id" in pq.read_schema(stream).names


class _CodeWriter:
    def __init__(self, writer: CodeFileWriter) -> None:
        self._writer = writer

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, traceback)

    def add(self, results: Results) -> None:
        self._writer.write(results.array, results.ids, results.numbers)


class _OutputWriter:
    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._schema = schema
        self._parquet = pq.ParquetWriter(
            file, schema, compression="zstd", use_dictionary=False, write_page_checksum=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._parquet.close()

    def add(self, results: Results) -> None:
        values = pa.array(np.ascontiguousarray(results.array, np.float32).reshape(-1))
        columns = [pa.FixedSizeListArray.from_arrays(values, self._schema.field(OUTPUTS).type.list_size)]
        if "id" in self._schema.names:
            columns.append(pa.array(results.ids or [""] * len(results.array), pa.string()))
        columns.append(pa.array(results.numbers, pa.int64()))
        self._parquet.write_batch(pa.record_batch(columns, schema=self._schema))


def _image_reader(engine: Engine) -> ReadImage:
    """Reads image files as the manifest of a model says."""

    def read(content: bytes) -> NDArray[np.float32]:
        try:
            found = images.read([images.File("the file", content)], engine.manifest, max_pixels=MAX_IMAGE_PIXELS)
        except InvalidFields as error:
            first = error.errors[0]
            raise ValueError(f"expected {first.expected}, got {first.received}") from None
        return found.inputs.reshape(-1)

    return read
