"""Files of codes: what comes back, what is refused, and that the document alone is enough to read one."""

import json
import re
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import codefile
from models.codefile import CodeFile, CodeFileWriter, Provenance
from models.codes import CodeLayout
from models.errors import CodeError, CodeFileError, WrongModel

DOCUMENT = Path(__file__).parents[2] / "docs" / "code-files.md"
SHA256 = "ab" * 32
BINARY: dict[str, Any] = {
    "model": "tiny",
    "version": 3,
    "manifest_sha256": SHA256,
    "kind": "binary",
    "num_latents": 12,
    "num_categories": 2,
}
CATEGORICAL = BINARY | {"kind": "categorical", "num_latents": 5, "num_categories": 6}
WIDE = CATEGORICAL | {"num_categories": 1000}


def random_codes(provenance: Provenance, num_rows: int, seed: int = 0) -> np.ndarray:
    layout = provenance.layout
    shape = (num_rows, layout.num_latents)
    return np.random.default_rng(seed).integers(0, layout.num_categories, shape).astype(layout.dtype)


def write(path: Path, provenance: Provenance, *batches: np.ndarray, ids: list[list[str]] | None = None, **how: Any):
    with CodeFileWriter(path, provenance, has_ids=ids is not None, **how) as writer:
        for number, codes in enumerate(batches):
            writer.write(codes, None if ids is None else ids[number])
    return path


def everything(path: Path, rows: int = 4096) -> np.ndarray:
    with CodeFile(path) as file:
        return np.concatenate([batch.codes for batch in file.batches(rows)])


@pytest.mark.parametrize("fields", [BINARY, CATEGORICAL, WIDE], ids=["binary", "categorical", "wide"])
def test_codes_and_their_origin_read_back_as_they_were_written(tmp_path: Path, fields: dict[str, Any]) -> None:
    provenance = Provenance(**fields, temperature=0.7, seed=2**63 - 1, first_row=9)
    first, second = random_codes(provenance, 100), random_codes(provenance, 1, seed=1)
    path = write(tmp_path / "codes.parquet", provenance, first, second)
    with CodeFile(path) as file:
        assert file.provenance == provenance
        assert file.num_rows == 101
        assert not file.has_ids
        (batch,) = file.batches()
        assert batch.ids is None
        assert batch.codes.dtype == first.dtype
        np.testing.assert_array_equal(batch.codes, np.concatenate([first, second]))


def test_rows_keep_the_numbers_that_their_noise_was_keyed_by(tmp_path: Path) -> None:
    provenance = Provenance(**BINARY, temperature=1.0, seed=3)
    codes, numbers = random_codes(provenance, 5), np.array([0, 1, 4, 5, 7])
    with (tmp_path / "codes.parquet").open("wb") as stream:
        with CodeFileWriter(stream, provenance, has_rows=True) as writer:
            writer.write(codes[:2], rows=numbers[:2])
            writer.write(codes[2:], rows=numbers[2:])
        assert not stream.closed
    with CodeFile(tmp_path / "codes.parquet") as file:
        assert file.has_rows
        batches = list(file.batches(rows=2))
    np.testing.assert_array_equal(np.concatenate([batch.rows for batch in batches]), numbers)
    np.testing.assert_array_equal(np.concatenate([batch.codes for batch in batches]), codes)


def test_row_numbers_that_do_not_fit_the_file_are_refused(tmp_path: Path) -> None:
    provenance = Provenance(**BINARY)
    codes = random_codes(provenance, 2)
    with (
        pytest.raises(CodeError, match="expected 2 rows, got none"),
        CodeFileWriter(tmp_path / "with", provenance, has_rows=True) as writer,
    ):
        writer.write(codes)
    with (
        pytest.raises(CodeError, match="expected no rows, got 2"),
        CodeFileWriter(tmp_path / "without", provenance) as writer,
    ):
        writer.write(codes, rows=np.arange(2))


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 40), max_size=6),
    rows_per_group=st.integers(1, 50),
    rows=st.integers(1, 50),
)
def test_neither_batches_nor_row_groups_change_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], rows_per_group: int, rows: int
) -> None:
    provenance = Provenance(**CATEGORICAL)
    path = tmp_path_factory.mktemp("codes") / "codes.parquet"
    codes = random_codes(provenance, sum(sizes))
    batches = np.split(codes, np.cumsum(sizes)[:-1]) if sizes else []
    write(path, provenance, *batches, rows_per_group=rows_per_group)
    with CodeFile(path) as file:
        read = list(file.batches(rows))
    assert all(1 <= len(batch.codes) <= rows for batch in read)
    joined = np.concatenate([np.empty((0, 5), np.uint8), *(batch.codes for batch in read)])
    np.testing.assert_array_equal(joined, codes)


def test_ids_come_back_beside_their_codes(tmp_path: Path) -> None:
    provenance = Provenance(**BINARY)
    codes = random_codes(provenance, 3)
    path = write(tmp_path / "codes.parquet", provenance, codes[:2], codes[2:], ids=[["a/1.png", "ä b.png"], ["c"]])
    with CodeFile(path) as file:
        assert file.has_ids
        assert [batch.ids for batch in file.batches(2)] == [["a/1.png", "ä b.png"], ["c"]]


@pytest.mark.parametrize(
    ("has_ids", "ids"), [(True, None), (True, ["one"]), (False, ["one", "two"])], ids=["none", "too few", "unasked"]
)
def test_a_row_has_an_id_exactly_where_the_file_has_them(tmp_path: Path, has_ids: bool, ids: Any) -> None:
    provenance = Provenance(**BINARY)
    with (
        pytest.raises(CodeError, match=r"^expected .*ids, got"),
        CodeFileWriter(tmp_path / "codes.parquet", provenance, has_ids=has_ids) as writer,
    ):
        writer.write(random_codes(provenance, 2), ids)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    provenance = Provenance(**BINARY)
    path = write(tmp_path / "codes.parquet", provenance, random_codes(provenance, 4))
    before = path.read_bytes()

    def interrupted() -> None:
        with CodeFileWriter(path, provenance) as writer:
            writer.write(random_codes(provenance, 70_000))
            assert path.read_bytes() == before
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        interrupted()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_the_rights_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    path = write(tmp_path / "codes.parquet", Provenance(**BINARY))
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_the_writer_holds_no_more_than_a_row_group(tmp_path: Path) -> None:
    provenance = Provenance(**BINARY)
    with CodeFileWriter(tmp_path / "codes.parquet", provenance, rows_per_group=100) as writer:
        for number in range(50):
            writer.write(random_codes(provenance, 30, seed=number))
            assert writer._num_waiting < 130
    metadata = pq.ParquetFile(tmp_path / "codes.parquet").metadata
    assert metadata.num_row_groups > 10
    assert metadata.num_rows == 1500


def test_codes_that_do_not_fit_the_layout_are_not_written(tmp_path: Path) -> None:
    provenance = Provenance(**CATEGORICAL)
    with (
        pytest.raises(CodeError, match=r"expected values in 0\.\.5, got 6"),
        CodeFileWriter(tmp_path / "codes.parquet", provenance) as writer,
    ):
        writer.write(np.full((1, 5), 6))


def test_only_the_model_that_made_the_codes_may_decode_them() -> None:
    provenance = Provenance(**BINARY)
    provenance.require_model("tiny", 3, SHA256)
    for other, said in {
        ("other", 3, SHA256): "are of model tiny version 3, and cannot be decoded by other version 3",
        ("tiny", 2, SHA256): "are of model tiny version 3, and cannot be decoded by tiny version 2",
        ("tiny", 3, "cd" * 32): f"expected one whose manifest has SHA-256 {SHA256}, got cdcd",
    }.items():
        with pytest.raises(WrongModel, match=said):
            provenance.require_model(*other)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": 0.5}, "seed: expected a number at a temperature above 0"),
        ({"num_categories": 3}, "num_categories: expected 2 for binary codes, got 3"),
        ({"manifest_sha256": "AB" * 32}, "manifest_sha256"),
    ],
    ids=["no seed", "three values of a bit", "capital digits"],
)
def test_an_origin_does_not_contradict_itself(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Provenance(**(BINARY | changes))


def parquet(path: Path, columns: dict[str, pa.Array], about: Any, key: bytes = b"latent_codes") -> Path:
    table = pa.table(columns)
    text = about if isinstance(about, bytes) else json.dumps(about).encode()
    pq.write_table(table.replace_schema_metadata({key: text}), path)
    return path


ABOUT = BINARY | {"format_version": 1}
TWO_BYTES = pa.array([b"\x00\x10", b"\xff\xf0"], pa.binary(2))

DAMAGED: dict[str, tuple[Any, str]] = {
    "empty": (lambda path: path.write_bytes(b""), "expected a Parquet file"),
    "text": (lambda path: path.write_bytes(b"codes, codes and codes"), "expected a Parquet file"),
    "other parquet": (
        lambda path: parquet(path, {"x": pa.array([1])}, "", b"k"),
        "without the metadata 'latent_codes'",
    ),
    "no json": (lambda path: parquet(path, {"code": TWO_BYTES}, b"{"), "metadata 'latent_codes': the object"),
    "no model": (
        lambda path: parquet(path, {"code": TWO_BYTES}, {k: v for k, v in ABOUT.items() if k != "model"}),
        "metadata 'latent_codes': model: Field required",
    ),
    "later format": (
        lambda path: parquet(path, {"code": TWO_BYTES}, ABOUT | {"format_version": 2}),
        "format_version: Input should be 1",
    ),
    "no code": (lambda path: parquet(path, {"id": pa.array(["a"])}, ABOUT), "column 'code': expected .*, got none"),
    "text codes": (
        lambda path: parquet(path, {"code": pa.array(["abc"])}, ABOUT),
        r"column 'code': expected fixed_size_binary\[2\], got string",
    ),
    "three bytes": (
        lambda path: parquet(path, {"code": pa.array([b"abc"], pa.binary(3))}, ABOUT),
        r"expected fixed_size_binary\[2\], got fixed_size_binary\[3\]",
    ),
    "numbers as ids": (
        lambda path: parquet(path, {"code": TWO_BYTES, "id": pa.array([1, 2])}, ABOUT),
        "column 'id': expected string, got int64",
    ),
    "missing code": (
        lambda path: parquet(path, {"code": pa.array([b"\x00\x10", None], pa.binary(2))}, ABOUT),
        "expected no missing values",
    ),
    "fill bits": (
        lambda path: parquet(path, {"code": pa.array([b"\x00\x01"], pa.binary(2))}, ABOUT),
        "in the rows from 0 on: expected the last 4 bits of a packed code to be 0",
    ),
    "a category too many": (
        lambda path: parquet(path, {"code": pa.array([b"\xc0\x00"], pa.binary(2))}, ABOUT | CATEGORICAL),
        r"in the rows from 0 on: expected values in 0\.\.5, got 6",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_no_file_of_codes_is_refused_with_its_name(tmp_path: Path, case: str) -> None:
    make, said = DAMAGED[case]
    make(tmp_path / "codes.parquet")
    with (
        pytest.raises(CodeFileError, match=f"^.*codes.parquet: .*{said}"),
        CodeFile(tmp_path / "codes.parquet") as file,
    ):
        list(file.batches())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CodeFileError, match=r"nothing\.parquet: "):
        CodeFile(tmp_path / "nothing.parquet")


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    provenance = Provenance(**BINARY)
    whole = write(tmp_path / "codes.parquet", provenance, random_codes(provenance, 2000)).read_bytes()
    path = tmp_path / "cut.parquet"
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(CodeFileError, match=r"cut\.parquet"):
            everything(path)


def test_an_altered_code_is_noticed(tmp_path: Path) -> None:
    provenance = Provenance(**BINARY)
    path = write(tmp_path / "codes.parquet", provenance, random_codes(provenance, 2000))
    whole = path.read_bytes()
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    # The page's header is before its content: some forty bytes.
    content = range(column.data_page_offset + 60, column.data_page_offset + column.total_compressed_size)
    for position in content[::211]:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(CodeFileError, match="cannot be read after row 0"):
            everything(path)


def test_columns_and_members_of_later_versions_are_ignored(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "codes.parquet", {"code": TWO_BYTES, "label": pa.array([1, 2])}, ABOUT | {"compiler": "new"}
    )
    np.testing.assert_array_equal(everything(path)[0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])


@pytest.mark.parametrize("fields", [BINARY, CATEGORICAL, WIDE], ids=["binary", "categorical", "wide"])
def test_the_document_alone_is_enough_to_read_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert "models" not in block
    provenance = Provenance(**fields)
    codes = random_codes(provenance, 300)
    write(tmp_path / "codes.parquet", provenance, codes, rows_per_group=128)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(block, str(DOCUMENT), "exec"), names)
    np.testing.assert_array_equal(names["codes"], codes)


def test_the_document_names_every_column_and_member() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in (codefile.CODE, codefile.ID, codefile.METADATA_KEY.decode(), *Provenance.model_fields):
        assert f"`{name}`" in text, name


def test_packed_codes_are_as_long_as_the_document_says() -> None:
    assert CodeLayout(5, 6).num_bytes == 2
