"""Bulk jobs from and to an object store: S3's own protocol, spoken with a server on this machine."""

import gc
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow.fs as pafs
import pytest
from bulk_datasets import bytes_in, write_parquet
from tiny_models import TINY_CATEGORICAL

from models.repository import Repository, StoredModel
from service import bulk
from service.errors import JobRefused

pytestmark = [
    pytest.mark.slow,
    # The server's, which closes the connections of its own answers late, and its library's.
    pytest.mark.filterwarnings("default::ResourceWarning"),
    pytest.mark.filterwarnings("default::DeprecationWarning"),
]

REGION = "us-east-1"


@dataclass(frozen=True)
class Bucket:
    """One bucket of a server."""

    name: str
    server: str

    def uri(self, prefix: str) -> str:
        return f"s3://{self.name}/{prefix}?scheme=http&endpoint_override={self.server}&region={REGION}"

    @property
    def files(self) -> pafs.SubTreeFileSystem:
        whole = pafs.S3FileSystem(
            endpoint_override=self.server, scheme="http", region=REGION, allow_bucket_creation=True
        )
        return pafs.SubTreeFileSystem(self.name, whole)

    def upload(self, folder: Path, prefix: str) -> None:
        pafs.copy_files(str(folder), prefix, destination_filesystem=self.files)

    def download(self, prefix: str, folder: Path) -> dict[str, bytes]:
        """Every object below the prefix, by its name."""
        folder.mkdir()
        pafs.copy_files(prefix, str(folder), source_filesystem=self.files)
        return bytes_in(folder)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Host and port of a server that keeps its buckets in memory."""
    from moto.server import ThreadedMotoServer

    serving = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    serving.start()
    try:
        host, port = serving.get_host_and_port()
        yield f"{host}:{port}"
    finally:
        serving.stop()
        del serving
        gc.collect()  # and not in a test that comes next and takes warnings for errors


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "in-particular")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    found = Bucket(f"bucket-{uuid4()}", server)
    pafs.S3FileSystem(endpoint_override=server, scheme="http", region=REGION, allow_bucket_creation=True).create_dir(
        found.name
    )
    return found


@pytest.fixture(scope="module")
def stored(tiny_repository: Path) -> StoredModel:
    return Repository(tiny_repository).read(TINY_CATEGORICAL.name)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """100 rows in two Parquet files, one row not a number, and a third file that was cut off."""
    rows = TINY_CATEGORICAL.inputs(100).astype(np.float32)
    rows[33, 2] = np.nan
    folder = tmp_path / "rows"
    write_parquet(folder / "a.parquet", rows[:70], rows_per_group=20)
    write_parquet(folder / "b" / "c.parquet", rows[70:], rows_per_group=30)
    (folder / "cut.parquet").write_bytes((folder / "a.parquet").read_bytes()[:200])
    return folder


def encode(source: str, destination: str, stored: StoredModel, **options: object) -> bulk.Report:
    return bulk.run(
        "encode", source, destination, stored, device="cpu", temperature=0.8, seed=5, rows_per_part=30, **options
    )  # type: ignore[arg-type]


class Interrupted(Exception):
    """Raised where a process would be killed."""


def after_first_part(done: int, of: int) -> None:
    if 0 < done < of:
        raise Interrupted


def test_a_bucket_gets_what_a_folder_gets_bad_rows_and_a_restart_included(
    bucket: Bucket, dataset: Path, stored: StoredModel, tmp_path: Path
) -> None:
    bucket.upload(dataset, "rows")
    source, destination = bucket.uri("rows"), bucket.uri("codes")
    with pytest.raises(Interrupted):
        encode(source, destination, stored, on_progress=after_first_part)
    report = encode(source, destination, stored)
    assert report == bulk.Report(num_rows=99, num_parts=3, num_parts_done_before=1, num_bad=2)
    encode(str(dataset), str(tmp_path / "codes"), stored)
    expected, found = bytes_in(tmp_path / "codes"), bucket.download("codes", tmp_path / "downloaded")
    # All but what the source is called.
    assert expected.pop("_job.json") != found.pop("_job.json")
    assert found == expected
    causes = {error["file"]: error for error in map(json.loads, found["_errors.jsonl"].splitlines())}
    assert causes.keys() == {"a.parquet", "cut.parquet"}
    assert (causes["a.parquet"]["start"], causes["a.parquet"]["number"]) == (33, 33)


def test_codes_in_a_bucket_are_decoded_into_another_place_of_it(
    bucket: Bucket, dataset: Path, stored: StoredModel, tmp_path: Path
) -> None:
    encode(str(dataset), bucket.uri("codes"), stored)
    report = bulk.run("decode", bucket.uri("codes"), bucket.uri("decoded"), stored, device="cpu")
    assert (report.num_rows, report.num_bad) == (99, 0)
    encode(str(dataset), str(tmp_path / "codes"), stored)
    bulk.run("decode", str(tmp_path / "codes"), str(tmp_path / "decoded"), stored, device="cpu")
    expected, found = bytes_in(tmp_path / "decoded"), bucket.download("decoded", tmp_path / "downloaded")
    del expected["_job.json"], found["_job.json"]
    assert found == expected


def test_a_bucket_that_is_not_there_is_named(bucket: Bucket, stored: StoredModel, tmp_path: Path) -> None:
    nowhere = Bucket("nobodys-bucket", bucket.server)
    with pytest.raises(JobRefused, match="nobodys-bucket"):
        encode(nowhere.uri("rows"), str(tmp_path / "codes"), stored)
