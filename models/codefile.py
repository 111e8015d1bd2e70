"""Codes in files: Parquet with packed codes, and what made them in the metadata.

`docs/code-files.md` is the format's specification, for readers in any language. Nothing here holds more than a row
group in memory. Needs pyarrow, which the extra `files` installs; no other module of `models` does.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from models.atomic_files import replacing
from models.codes import MAX_CATEGORIES, CodeLayout, Codes, pack, unpack
from models.errors import CodeError, CodeFileError, WrongModel
from models.manifest import Kind, ModelName
from models.noise import MAX_SEED

METADATA_KEY = b"latent_codes"
FORMAT_VERSION: Literal[1] = 1
CODE, ID, ROW = "code", "id", "row"
"""Columns: the packed code, and where there are such the name of what was encoded and the number of its row."""

ROWS_PER_GROUP = 1 << 16
_ROWS_PER_BATCH = 1 << 12


class Provenance(BaseModel):
    """What made the codes of a file: the model to the last bit, their layout, and how they were drawn."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())

    format_version: Literal[1] = FORMAT_VERSION
    model: ModelName
    version: int = Field(ge=1)
    manifest_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    kind: Kind
    num_latents: int = Field(ge=1, le=65536)
    num_categories: int = Field(ge=2, le=MAX_CATEGORIES)
    temperature: float = Field(0.0, ge=0)
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    """None at temperature 0 only, where nothing is drawn."""
    first_row: int = Field(0, ge=0, le=MAX_SEED)
    """Without a column of row numbers, row i of the file was drawn with the noise of row `first_row + i`."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.kind == "binary" and self.num_categories != 2:
            raise ValueError(f"num_categories: expected 2 for binary codes, got {self.num_categories}")
        if self.temperature > 0 and self.seed is None:
            raise ValueError("seed: expected a number at a temperature above 0, got none")
        return self

    @property
    def layout(self) -> CodeLayout:
        return CodeLayout(self.num_latents, self.num_categories)

    def require_model(self, name: str, version: int, manifest_sha256: str) -> None:
        """Raise WrongModel unless that model is, to the last bit, the one that made the codes."""
        if (name, version) != (self.model, self.version):
            raise WrongModel(
                f"the codes are of model {self.model} version {self.version}, and cannot be decoded by {name} version "
                f"{version}: a code means something to its own model only"
            )
        if manifest_sha256 != self.manifest_sha256:
            raise WrongModel(
                f"the codes are of another model {name} version {version}: expected one whose manifest has SHA-256 "
                f"{self.manifest_sha256}, got {manifest_sha256}"
            )


class CodeBatch(NamedTuple):
    """Some rows of a file: codes [B, N] in their layout's dtype, and B ids and row numbers where the file has them."""

    codes: Codes
    ids: list[str] | None
    rows: NDArray[np.int64] | None = None


class CodeFileWriter:
    """Writes codes row group after row group; the file is there, whole, when the `with` block ends without an error.

    with CodeFileWriter(Path("codes.parquet"), provenance) as writer:
        for codes in batches:
            writer.write(codes)
    """

    def __init__(
        self,
        destination: Path | BinaryIO,
        provenance: Provenance,
        *,
        has_ids: bool = False,
        has_rows: bool = False,
        rows_per_group: int = ROWS_PER_GROUP,
    ) -> None:
        """A `destination` that is an open file stays open; what becomes of it after an error is its owner's to say."""
        self._destination = destination
        self._layout = provenance.layout
        self._has_ids = has_ids
        self._has_rows = has_rows
        self._rows_per_group = rows_per_group
        fields = [pa.field(CODE, pa.binary(self._layout.num_bytes), nullable=False)]
        if has_ids:
            fields.append(pa.field(ID, pa.string(), nullable=False))
        if has_rows:
            fields.append(pa.field(ROW, pa.int64(), nullable=False))
        metadata = {METADATA_KEY: provenance.model_dump_json(exclude_none=True).encode()}
        self._schema = pa.schema(fields, metadata=metadata)
        self._waiting: list[pa.RecordBatch] = []
        self._num_waiting = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            file = self._destination
            if isinstance(file, Path):
                file = stack.enter_context(replacing(file))
            self._parquet = stack.enter_context(
                pq.ParquetWriter(
                    file, self._schema, compression="snappy", use_dictionary=False, write_page_checksum=True
                )
            )
            stack.push(self._write_the_rest)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, traceback)

    def write(
        self,
        codes: NDArray[np.integer[Any]],
        ids: Sequence[str] | None = None,
        rows: NDArray[np.integer[Any]] | None = None,
    ) -> None:
        """Append codes [B, N], with an id and a row number each if the file has them.

        Raises CodeError, or OSError on a full disk.
        """
        for what, given, has in (("ids", ids, self._has_ids), ("rows", rows, self._has_rows)):
            if (given is None) == has or (given is not None and len(given) != len(codes)):
                expected = f"{len(codes)} {what}" if has else f"no {what}"
                raise CodeError(f"expected {expected}, got {'none' if given is None else len(given)}")
        packed = np.ascontiguousarray(pack(codes, self._layout))
        width = pa.binary(self._layout.num_bytes)
        columns = [pa.FixedSizeBinaryArray.from_buffers(width, len(packed), [None, pa.py_buffer(packed.tobytes())])]
        if ids is not None:
            columns.append(pa.array(ids, pa.string()))
        if rows is not None:
            columns.append(pa.array(rows, pa.int64()))
        self._waiting.append(pa.record_batch(columns, schema=self._schema))
        self._num_waiting += len(packed)
        if self._num_waiting >= self._rows_per_group:
            self._flush()

    def _write_the_rest(self, *raised: object) -> None:
        if raised[0] is None:
            self._flush()

    def _flush(self) -> None:
        if self._num_waiting:
            table = pa.Table.from_batches(self._waiting, self._schema)
            self._parquet.write_table(table, row_group_size=self._rows_per_group)
        self._waiting, self._num_waiting = [], 0


class CodeFile:
    """An open file of codes. Raises CodeFileError, which names the file, when it is not one or cannot be read."""

    def __init__(self, source: Path | BinaryIO, *, name: str | None = None) -> None:
        self.name = name if name is not None else str(source)
        try:
            self._parquet = pq.ParquetFile(source, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise CodeFileError(f"{self.name}: expected a Parquet file: {_first_line(error)}") from error
        try:
            self.provenance = self._read_provenance()
            self._check_columns()
        except CodeFileError:
            self.close()
            raise

    @property
    def num_rows(self) -> int:
        return int(self._parquet.metadata.num_rows)

    @property
    def rows_per_group(self) -> tuple[int, ...]:
        """Rows of each row group, in order."""
        metadata = self._parquet.metadata
        return tuple(int(metadata.row_group(at).num_rows) for at in range(metadata.num_row_groups))

    @property
    def has_ids(self) -> bool:
        return ID in self._parquet.schema_arrow.names

    @property
    def has_rows(self) -> bool:
        return ROW in self._parquet.schema_arrow.names

    def batches(self, rows: int = _ROWS_PER_BATCH, *, row_groups: Sequence[int] | None = None) -> Iterator[CodeBatch]:
        """The rows of the file, or of some of its row groups, in order, at most `rows` at a time."""
        columns = [CODE, *([ID] if self.has_ids else []), *([ROW] if self.has_rows else [])]
        first = 0
        try:
            for batch in self._parquet.iter_batches(rows, row_groups=row_groups, columns=columns):
                if any(column.null_count for column in batch.columns):
                    raise CodeFileError(f"{self.name}: expected no missing values, got one after row {first}")
                packed = _bytes_of(batch.column(CODE), self.provenance.layout.num_bytes)
                ids = batch.column(ID).to_pylist() if self.has_ids else None
                numbers = np.asarray(batch.column(ROW)) if self.has_rows else None
                yield CodeBatch(self._unpacked(packed, first), ids, numbers)
                first += len(packed)
        except (pa.ArrowException, OSError) as error:
            raise CodeFileError(f"{self.name}: cannot be read after row {first}: {_first_line(error)}") from error

    def close(self) -> None:
        self._parquet.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _unpacked(self, packed: NDArray[np.uint8], first: int) -> Codes:
        try:
            return unpack(packed, self.provenance.layout)
        except CodeError as error:
            raise CodeFileError(f"{self.name}: in the rows from {first} on: {error}") from error

    def _read_provenance(self) -> Provenance:
        text = (self._parquet.metadata.metadata or {}).get(METADATA_KEY)
        if text is None:
            raise CodeFileError(
                f"{self.name}: expected a file of codes, got Parquet without the metadata {METADATA_KEY.decode()!r}"
            )
        try:
            return Provenance.model_validate_json(text, strict=True)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            field = ".".join(map(str, problem["loc"])) or "the object"
            said = problem["msg"].removeprefix("Value error, ")
            raise CodeFileError(f"{self.name}: metadata {METADATA_KEY.decode()!r}: {field}: {said}") from None

    def _check_columns(self) -> None:
        schema = self._parquet.schema_arrow
        expected = {CODE: pa.binary(self.provenance.layout.num_bytes)}
        expected |= {ID: pa.string()} if self.has_ids else {}
        expected |= {ROW: pa.int64()} if self.has_rows else {}
        for column, kind in expected.items():
            got = schema.field(column).type if column in schema.names else "none"
            if got != kind:
                raise CodeFileError(f"{self.name}: column {column!r}: expected {kind}, got {got}")


def _bytes_of(column: Any, width: int) -> NDArray[np.uint8]:
    """A column of fixed-size binary, without missing values, as [B, width]."""
    content = np.frombuffer(column.buffers()[1], np.uint8) if len(column) else np.empty(0, np.uint8)
    start = column.offset * width
    return content[start : start + len(column) * width].reshape(len(column), width)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
