"""Bulk jobs in one process: the codes are those of the engine, a job goes on where it ended, nothing bad is lost."""

import errno
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk_datasets import bytes_in, codes_in, fixed_bytes, png, write_parquet
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import TINY_BINARY, TINY_CATEGORICAL

from models.codefile import CodeFile
from models.repository import Repository, StoredModel
from service import bulk
from service.bulk import jobs
from service.bulk.sources import Source, open_source
from service.engine import Engine
from service.errors import JobFailed, JobRefused

ROWS = TINY_CATEGORICAL.inputs(100)


@pytest.fixture(scope="module")
def stored(tiny_repository: Path) -> StoredModel:
    return Repository(tiny_repository).read(TINY_CATEGORICAL.name)


@pytest.fixture(scope="module")
def images_model(tiny_repository: Path) -> StoredModel:
    return Repository(tiny_repository).read(TINY_BINARY.name)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """100 rows in two Parquet files."""
    folder = tmp_path / "rows"
    write_parquet(folder / "a.parquet", ROWS[:70], rows_per_group=20)
    write_parquet(folder / "b" / "c.parquet", ROWS[70:], rows_per_group=30)
    return folder


def encode(source: Path, destination: Path, stored: StoredModel, **options: Any) -> bulk.Report:
    return bulk.run("encode", str(source), str(destination), stored, device="cpu", **options)


def expected_codes(stored: StoredModel, rows: np.ndarray, **options: Any) -> np.ndarray:
    codes = Engine.load(stored, device="cpu").encode(rows, **options).codes
    assert codes is not None
    return codes


def errors_of(destination: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (destination / "_errors.jsonl").read_text().splitlines()]


def test_a_dataset_gets_the_codes_of_one_request(tmp_path: Path, dataset: Path, stored: StoredModel) -> None:
    report = encode(dataset, tmp_path / "codes", stored, rows_per_part=30, temperature=0.8, seed=5)
    assert report == bulk.Report(num_rows=100, num_parts=3, num_parts_done_before=0, num_bad=0)
    expected = expected_codes(stored, ROWS, temperature=0.8, seed=5)
    np.testing.assert_array_equal(codes_in(tmp_path / "codes"), expected)
    with CodeFile(tmp_path / "codes" / "part-000001.parquet") as file:
        assert (file.provenance.model, file.provenance.seed, file.provenance.first_row) == (stored.manifest.name, 5, 40)
        (batch,) = file.batches()
        np.testing.assert_array_equal(batch.rows, np.arange(40, 70))


def test_an_array_is_cut_anywhere_and_gets_the_same_codes(tmp_path: Path, stored: StoredModel) -> None:
    np.save(tmp_path / "rows.npy", ROWS.astype(np.float64))
    report = encode(tmp_path / "rows.npy", tmp_path / "codes", stored, rows_per_part=33, temperature=1.0, seed=1)
    assert report.num_parts == 4
    expected = expected_codes(stored, ROWS, temperature=1.0, seed=1)
    np.testing.assert_array_equal(codes_in(tmp_path / "codes"), expected)


def test_images_keep_their_names_and_bad_ones_are_told_beside_the_others(
    tmp_path: Path, images_model: StoredModel
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4))
    for name, picture in zip("ace", pixels, strict=True):
        (folder / f"{name}.png").write_bytes(png(picture))
    (folder / "b.png").write_bytes(b"GIF89a is no PNG")
    (folder / "d.jpg").write_bytes(b"")
    report = encode(folder, tmp_path / "codes", images_model, rows_per_part=2, temperature=1.0, seed=2)
    assert (report.num_rows, report.num_bad) == (3, 2)
    found = pq.read_table(tmp_path / "codes").sort_by("row").to_pydict()
    assert (found["id"], found["row"]) == (["a.png", "c.png", "e.png"], [0, 2, 4])
    # The noise of a row is that of its number, whatever could not be read before it.
    rows = (pixels / 255).astype(np.float32).reshape(3, -1)
    engine = Engine.load(images_model, device="cpu")
    for row, number, code in zip(rows, found["row"], codes_in(tmp_path / "codes"), strict=True):
        alone = engine.encode(row[None], temperature=1.0, seed=2, first_row=number).codes
        np.testing.assert_array_equal(alone, code[None])
    first, second = errors_of(tmp_path / "codes")
    assert (first["file"], first["number"], second["file"], second["number"]) == ("b.png", 1, "d.jpg", 3)
    assert "GIF" in first["cause"]


def test_images_in_a_column_are_read_as_images(tmp_path: Path, images_model: StoredModel) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4))
    column = [{"bytes": png(picture), "path": None} for picture in pixels]
    column[1]["bytes"] = b"nothing"
    pq.write_table(pa.table({"image": column, "id": ["x", "y", "z"]}), tmp_path / "images.parquet")
    report = encode(tmp_path / "images.parquet", tmp_path / "codes", images_model, column="image")
    assert (report.num_rows, report.num_bad) == (2, 1)
    expected = expected_codes(images_model, (pixels[[0, 2]] / 255).astype(np.float32))
    np.testing.assert_array_equal(codes_in(tmp_path / "codes"), expected)
    assert errors_of(tmp_path / "codes")[0]["start"] == 1


@pytest.mark.parametrize(
    "column",
    [
        fixed_bytes(ROWS),
        pa.array(ROWS.reshape(-1, 2, 5).tolist(), pa.list_(pa.list_(pa.float32()))),
        pa.FixedShapeTensorArray.from_numpy_ndarray(ROWS.reshape(-1, 2, 5)),
        pa.array(list(ROWS), pa.large_list(pa.float32())),
    ],
    ids=["bytes", "lists-of-lists", "tensors", "large-lists"],
)
def test_a_column_is_rows_in_whatever_form_it_has_them(tmp_path: Path, stored: StoredModel, column: pa.Array) -> None:
    pq.write_table(pa.table({"inputs": column}), tmp_path / "rows.parquet", row_group_size=30)
    report = encode(tmp_path / "rows.parquet", tmp_path / "codes", stored, rows_per_part=60, temperature=1.0, seed=6)
    assert (report.num_rows, report.num_bad) == (100, 0)
    expected = expected_codes(stored, ROWS, temperature=1.0, seed=6)
    np.testing.assert_array_equal(codes_in(tmp_path / "codes"), expected)


def test_pixels_in_a_column_of_bytes_get_the_codes_of_their_images(tmp_path: Path, images_model: StoredModel) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 4), np.uint8)
    pq.write_table(pa.table({"inputs": fixed_bytes(pixels)}), tmp_path / "pixels.parquet")
    encode(tmp_path / "pixels.parquet", tmp_path / "codes", images_model)
    pq.write_table(pa.table({"inputs": [png(picture) for picture in pixels]}), tmp_path / "images.parquet")
    encode(tmp_path / "images.parquet", tmp_path / "codes-of-images", images_model)
    np.testing.assert_array_equal(codes_in(tmp_path / "codes"), codes_in(tmp_path / "codes-of-images"))


def test_bytes_that_are_no_rows_are_told(tmp_path: Path, stored: StoredModel, images_model: StoredModel) -> None:
    rows = ROWS[:6].copy()
    rows[2, 3] = np.inf
    column = pa.array([None if at == 4 else row.tobytes() for at, row in enumerate(rows)], pa.binary(40))
    pq.write_table(pa.table({"inputs": column}), tmp_path / "rows.parquet")
    report = encode(tmp_path / "rows.parquet", tmp_path / "codes", stored)
    assert (report.num_rows, report.num_bad) == (4, 2)
    causes = {error["start"]: error["cause"] for error in errors_of(tmp_path / "codes")}
    assert causes[2].endswith("got inf")
    assert causes[4] == "expected 10 numbers, got nothing"
    encode(tmp_path / "rows.parquet", tmp_path / "codes-of-images", images_model)
    (error,) = errors_of(tmp_path / "codes-of-images")
    assert (error["start"], error["stop"]) == (0, 6)
    assert error["cause"] == "expected 64 bytes, 16 float32, or 16 pixels, got 40 bytes"


def test_an_array_of_truths_is_one_of_zeros_and_ones(tmp_path: Path, images_model: StoredModel) -> None:
    truths = np.random.default_rng(0).random((2500, 4, 4)) < 0.5
    np.save(tmp_path / "rows.npy", truths)
    encode(tmp_path / "rows.npy", tmp_path / "codes", images_model, rows_per_part=1500)
    expected = expected_codes(images_model, truths.astype(np.float32))
    np.testing.assert_array_equal(codes_in(tmp_path / "codes"), expected)


def test_rows_that_the_model_does_not_take_are_left_out_with_position_and_cause(
    tmp_path: Path, stored: StoredModel
) -> None:
    listed: list[Any] = [row.tolist() for row in ROWS[:8]]
    listed[1] = listed[1][:9]
    listed[3] = None
    listed[4][2] = float("nan")
    listed[6][0] = None
    pq.write_table(pa.table({"inputs": listed}), tmp_path / "rows.parquet")
    report = encode(tmp_path / "rows.parquet", tmp_path / "codes", stored, temperature=1.0, seed=3)
    assert (report.num_rows, report.num_bad) == (4, 4)
    everything = expected_codes(stored, ROWS[:8], temperature=1.0, seed=3)
    np.testing.assert_array_equal(codes_in(tmp_path / "codes"), everything[[0, 2, 5, 7]])
    causes = {error["start"]: error["cause"] for error in errors_of(tmp_path / "codes")}
    assert causes[1] == "expected 10 numbers, got 9"
    assert causes[3] == "expected 10 numbers, got nothing"
    assert causes[4].endswith("got nan")
    assert set(causes) == {1, 3, 4, 6}


def test_a_file_that_is_not_what_its_name_says_is_told_and_the_others_are_done(
    tmp_path: Path, dataset: Path, stored: StoredModel
) -> None:
    (dataset / "aa.parquet").write_bytes(b"not Parquet at all")
    report = encode(dataset, tmp_path / "codes", stored)
    assert (report.num_rows, report.num_bad) == (100, 1)
    assert errors_of(tmp_path / "codes")[0]["file"] == "aa.parquet"


def test_a_file_that_is_spoilt_in_the_middle_loses_only_what_cannot_be_read(
    tmp_path: Path, stored: StoredModel
) -> None:
    path = tmp_path / "rows.parquet"
    column = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.reshape(-1)), ROWS.shape[1])
    pq.write_table(pa.table({"inputs": column}), path, row_group_size=25, compression="snappy", use_dictionary=False)
    metadata = pq.read_metadata(path)
    spoilt = metadata.row_group(2).column(0)
    content = bytearray(path.read_bytes())
    content[spoilt.data_page_offset : spoilt.data_page_offset + 12] = b"\xff" * 12
    path.write_bytes(content)
    report = encode(path, tmp_path / "codes", stored, rows_per_part=25)
    assert (report.num_rows, report.num_bad) == (75, 1)
    (error,) = errors_of(tmp_path / "codes")
    assert (error["start"], error["stop"], error["number"]) == (50, 75, 50)


@pytest.mark.parametrize("how", ["no receipt", "no file", "a shorter file", "a spoilt receipt"])
def test_a_job_that_ended_early_does_what_is_left_and_ends_with_the_same_bytes(
    tmp_path: Path, dataset: Path, stored: StoredModel, how: str
) -> None:
    options: dict[str, Any] = {"rows_per_part": 30, "temperature": 1.0, "seed": 9}
    encode(dataset, tmp_path / "whole", stored, **options)
    encode(dataset, tmp_path / "codes", stored, **options)
    file, receipt = tmp_path / "codes" / "part-000001.parquet", tmp_path / "codes" / "_receipts" / "part-000001.json"
    match how:
        case "no receipt":
            receipt.unlink()
        case "no file":
            file.unlink()
        case "a shorter file":
            file.write_bytes(file.read_bytes()[:-1])
        case "a spoilt receipt":
            receipt.write_text("{")
    report = encode(dataset, tmp_path / "codes", stored, **options)
    assert report.num_parts_done_before == 2
    assert report.num_rows == 100
    assert bytes_in(tmp_path / "codes") == bytes_in(tmp_path / "whole")


def test_a_job_goes_on_with_the_seed_that_was_drawn_for_it(tmp_path: Path, dataset: Path, stored: StoredModel) -> None:
    encode(dataset, tmp_path / "codes", stored, temperature=1.0)
    (tmp_path / "codes" / "_receipts" / "part-000000.json").unlink()
    before = bytes_in(tmp_path / "codes")["part-000000.parquet"]
    encode(dataset, tmp_path / "codes", stored, temperature=1.0)
    assert bytes_in(tmp_path / "codes")["part-000000.parquet"] == before


def test_what_a_killed_process_had_not_finished_is_in_nobodys_way_and_gone_in_the_end(
    tmp_path: Path, dataset: Path, stored: StoredModel
) -> None:
    codes = tmp_path / "codes"
    (codes / "_receipts").mkdir(parents=True)
    for name in ("._job.json", ".part-000000.parquet", "_receipts/.part-000001.json"):
        (codes / f"{name}.0123456789abcdef.partial").write_bytes(b"half of")
    encode(dataset, codes, stored)
    encode(dataset, tmp_path / "expected", stored)
    assert bytes_in(codes).keys() == bytes_in(tmp_path / "expected").keys()


def test_another_job_is_refused_in_a_destination_that_holds_one(
    tmp_path: Path, dataset: Path, stored: StoredModel
) -> None:
    encode(dataset, tmp_path / "codes", stored, temperature=1.0, seed=1)
    with pytest.raises(JobRefused, match="a job with seed 1, and 2 is asked for now"):
        encode(dataset, tmp_path / "codes", stored, temperature=1.0, seed=2)
    with pytest.raises(JobRefused, match=r"temperature 1\.0, and 0\.0 is asked for"):
        encode(dataset, tmp_path / "codes", stored)
    write_parquet(dataset / "new.parquet", ROWS[:5], rows_per_group=5)
    with pytest.raises(JobRefused, match="the files of the source have changed"):
        encode(dataset, tmp_path / "codes", stored, temperature=1.0, seed=1)


def test_a_folder_with_other_things_in_it_is_no_destination(tmp_path: Path, dataset: Path, stored: StoredModel) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(JobRefused, match=r"expected an empty folder, .*found thesis\.tex"):
        encode(dataset, tmp_path / "mine", stored)


def test_sources_that_are_none_are_refused_in_one_sentence(tmp_path: Path, stored: StoredModel) -> None:
    with pytest.raises(JobRefused, match="there is nothing"):
        encode(tmp_path / "missing", tmp_path / "codes", stored)
    (tmp_path / "empty").mkdir()
    with pytest.raises(JobRefused, match=r"expected files that end in \.parquet"):
        encode(tmp_path / "empty", tmp_path / "codes", stored)
    (tmp_path / "empty" / "a.npy").touch()
    (tmp_path / "empty" / "b.png").touch()
    with pytest.raises(JobRefused, match="files of one kind, found images, npy"):
        encode(tmp_path / "empty", tmp_path / "codes", stored)
    with pytest.raises(JobRefused, match="cannot be reached"):
        bulk.run("encode", "nowhere://bucket/rows", str(tmp_path / "codes"), stored)


@pytest.mark.parametrize(
    ("array", "cause"),
    [
        (np.array([{}], dtype=object), "expected an array of real numbers, got object"),
        (np.asfortranarray(ROWS), "Fortran order"),
        (ROWS[:, :9], r"expected rows of 10 numbers, got rows of shape \[9\]"),
    ],
    ids=["objects", "columns", "rows-of-another-length"],
)
def test_arrays_that_do_not_fit_are_told_with_their_cause(
    tmp_path: Path, stored: StoredModel, array: np.ndarray, cause: str
) -> None:
    np.save(tmp_path / "rows.npy", array, allow_pickle=True)
    report = encode(tmp_path / "rows.npy", tmp_path / "codes", stored)
    assert report.num_rows == 0
    (error,) = errors_of(tmp_path / "codes")
    assert re.search(cause, error["cause"])


def test_an_array_that_promises_more_than_it_has_is_told(tmp_path: Path, stored: StoredModel) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    content = (tmp_path / "rows.npy").read_bytes()
    (tmp_path / "rows.npy").write_bytes(content[:-4])
    encode(tmp_path / "rows.npy", tmp_path / "codes", stored)
    (error,) = errors_of(tmp_path / "codes")
    assert f"expected {len(content)} bytes" in error["cause"]


def test_codes_are_decoded_back_with_their_names_and_numbers(tmp_path: Path, stored: StoredModel) -> None:
    write_parquet(tmp_path / "rows.parquet", ROWS, rows_per_group=30, ids=[f"row {number}" for number in range(100)])
    encode(tmp_path / "rows.parquet", tmp_path / "codes", stored, rows_per_part=30)
    report = bulk.run("decode", str(tmp_path / "codes"), str(tmp_path / "outputs"), stored, rows_per_part=50)
    assert (report.num_rows, report.num_bad) == (100, 0)
    table = pq.read_table(tmp_path / "outputs")
    assert table["id"].to_pylist() == [f"row {number}" for number in range(100)]
    assert table["row"].to_pylist() == list(range(100))
    expected = Engine.load(stored, device="cpu").decode(codes_in(tmp_path / "codes"))
    np.testing.assert_array_equal(np.array(table["outputs"].to_pylist(), np.float32), expected)
    about = json.loads(table.schema.metadata[b"latent_codes_outputs"])
    assert (about["model"], about["shape"]) == (stored.manifest.name, [10])


def test_codes_of_another_model_are_not_decoded(
    tmp_path: Path, dataset: Path, stored: StoredModel, images_model: StoredModel
) -> None:
    encode(dataset, tmp_path / "codes", stored)
    with pytest.raises(JobRefused, match="the codes are of model tiny-categorical version 1"):
        bulk.run("decode", str(tmp_path / "codes"), str(tmp_path / "outputs"), images_model)


def test_a_destination_that_cannot_be_written_ends_in_one_sentence_and_goes_on_later(
    tmp_path: Path, dataset: Path, stored: StoredModel
) -> None:
    def fill_up(done: int, _of: int) -> None:
        if done >= 40:
            # In place of the next file stands something that no file can replace.
            (tmp_path / "codes" / "part-000001.parquet" / "full").mkdir(parents=True, exist_ok=True)

    with pytest.raises(JobFailed, match="cannot be written"):
        encode(dataset, tmp_path / "codes", stored, rows_per_part=30, on_progress=fill_up)
    (tmp_path / "codes" / "part-000001.parquet" / "full").rmdir()
    (tmp_path / "codes" / "part-000001.parquet").rmdir()
    report = encode(dataset, tmp_path / "codes", stored, rows_per_part=30)
    assert (report.num_rows, report.num_parts_done_before) == (100, 1)


def test_a_disk_that_fills_up_is_told_with_what_to_do(tmp_path: Path, dataset: Path, stored: StoredModel) -> None:
    fsspec = pytest.importorskip("fsspec")
    from fsspec.implementations.memory import MemoryFileSystem

    class FullFileSystem(MemoryFileSystem):
        protocol = "full"
        store: ClassVar[dict[str, Any]] = {}
        pseudo_dirs: ClassVar[list[str]] = [""]

        def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
            if mode == "wb" and "part-000001" in path:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            return super()._open(path, mode, **options)

    fsspec.register_implementation("full", FullFileSystem, clobber=True)
    expected = (
        r"full://codes: cannot be written: .*part-000001.*: No space left on device; make room there; started again"
    )
    with pytest.raises(JobFailed, match=expected):
        bulk.run("encode", str(dataset), "full://codes", stored, device="cpu", rows_per_part=30)


def test_any_file_system_of_fsspec_will_do(tmp_path: Path, dataset: Path, stored: StoredModel) -> None:
    pytest.importorskip("fsspec")
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(dataset), "/rows", recursive=True)
    report = bulk.run("encode", "memory://rows", "memory://codes", stored, device="cpu", rows_per_part=40)
    memory.get("/codes/", str(tmp_path / "codes"), recursive=True)
    assert report.num_rows == 100
    np.testing.assert_array_equal(codes_in(tmp_path / "codes"), expected_codes(stored, ROWS))
    again = bulk.run("encode", "memory://rows", "memory://codes", stored, device="cpu", rows_per_part=40)
    assert again.num_parts_done_before == again.num_parts


@settings(max_examples=60)
@given(
    counts=st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=5), min_size=1, max_size=5),
    rows_per_part=st.integers(1, 60),
    kind=st.sampled_from(["parquet", "npy"]),
)
def test_parts_hold_every_row_once_and_in_order(counts: list[list[int]], rows_per_part: int, kind: Any) -> None:
    if kind == "npy":
        counts = [[sum(each)] for each in counts]
    files = tuple((f"{number}", tuple(each)) for number, each in enumerate(counts))
    source = Source("somewhere", kind, files, (), "")
    parts = source.parts(rows_per_part)
    rows = [(each.path, row) for part in parts for each in part.slices for row in range(each.start, each.stop)]
    assert rows == [(path, row) for path, each in files for row in range(sum(each))]
    first = 0
    for index, part in enumerate(parts):
        assert (part.index, part.first_row) == (index, first)
        first += part.num_rows
        if kind == "npy" and index < len(parts) - 1:
            assert part.num_rows == rows_per_part
        assert part.num_rows > 0
    assert replace(source, uri="elsewhere").parts(rows_per_part) == parts


def test_hidden_files_are_nobodys_rows(dataset: Path) -> None:
    before = open_source(str(dataset))
    (dataset / "_temporary").mkdir()
    (dataset / "_temporary" / "x.parquet").touch()
    (dataset / ".x.parquet").touch()
    assert open_source(str(dataset)) == before


def test_a_job_on_disk_is_the_job(tmp_path: Path, dataset: Path, stored: StoredModel) -> None:
    encode(dataset, tmp_path / "codes", stored, temperature=0.5, seed=4)
    job = jobs.Job.from_json((tmp_path / "codes" / "_job.json").read_bytes())
    assert (job.model, job.manifest_sha256, job.seed) == (stored.manifest.name, stored.manifest_sha256, 4)
    with pytest.raises(ValueError, match="expected an object with"):
        jobs.Job.from_json(b"{}")
