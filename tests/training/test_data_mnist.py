"""The idx sources, on tiny files of the same format whose checksums the tests supply."""

import dataclasses
import gzip
import hashlib
import json
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from training.data import DataConfig, load
from training.data.idx import FASHION_MNIST, MNIST, IdxSource, parse, read
from training.errors import ConfigError, DataCorrupted, DataError, DownloadFailed

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", length) for length in array.shape)
    return header + array.tobytes()


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, size=(42, 28, 28), dtype=np.uint8)


@pytest.fixture
def contents(images):
    """Unpacked content of the four files: 30 training and 12 test images, labelled 0, 1, 2, ... modulo 10."""
    labels = (np.arange(42) % 10).astype(np.uint8)
    return dict(zip(FILES, map(idx, (images[:30], labels[:30], images[30:], labels[30:])), strict=True))


@pytest.fixture
def packed(contents):
    return {name: gzip.compress(content, mtime=0) for name, content in contents.items()}


@pytest.fixture
def source(contents):
    return IdxSource(
        title="a tiny MNIST",
        md5={name: hashlib.md5(content).hexdigest() for name, content in contents.items()},
        checksum_of="unpacked",
        mirrors=(),
    )


@pytest.fixture
def gz_source(packed):
    return IdxSource(
        title="a tiny Fashion-MNIST",
        md5={name: hashlib.md5(content).hexdigest() for name, content in packed.items()},
        checksum_of="gz",
        mirrors=(),
    )


def put(folder, contents, ending=""):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / (name + ending)).write_bytes(content)


def loaded(source, **options):
    config = DataConfig(**{"name": "mnist"} | options)
    return load(config, readers={config.name: partial(read, source=source)})


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """A real server of a folder on a real port: gives its address, and the requests it got so far."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    requests = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path / "mirror"))

        def log_message(self, *_):
            requests.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", requests
        server.shutdown()
        thread.join()


def test_every_image_and_label_arrives_in_the_split_it_belongs_to(tmp_path, source, packed, images):
    put(tmp_path, packed, ".gz")
    dataset = loaded(source, path=str(tmp_path))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 25, "valid": 5, "test": 12}
    np.testing.assert_array_equal(dataset.splits["test"].values, images[30:].reshape(12, 784))
    assert dataset.splits["test"].labels.tolist() == [number % 10 for number in range(30, 42)]
    both = np.concatenate([dataset.splits["train"].values, dataset.splits["valid"].values])
    assert sorted(row.tobytes() for row in both) == sorted(image.tobytes() for image in images[:30])
    assert dataset.splits["train"].values.dtype == np.uint8
    assert (dataset.scale, dataset.binarization) == (255.0, "dynamic")
    assert dataset.input.shape == (28, 28)
    assert dataset.input.image.mode == "L"


@pytest.mark.parametrize("folder", [".", "mnist"], ids=["in-the-folder", "in-a-sub-folder-of-the-name"])
@pytest.mark.parametrize("form", ["gz", "unpacked"])
def test_files_are_found_packed_or_not(tmp_path, source, contents, packed, folder, form):
    put(tmp_path / folder, *((packed, ".gz") if form == "gz" else (contents,)))
    assert len(loaded(source, path=str(tmp_path)).splits["test"]) == 12


def test_files_packed_anew_are_the_same_data(tmp_path, source, contents):
    put(tmp_path, {name: gzip.compress(content, compresslevel=1) for name, content in contents.items()}, ".gz")
    assert len(loaded(source, path=str(tmp_path)).splits["test"]) == 12


def test_an_altered_file_is_named_with_both_checksums(tmp_path, source, contents):
    contents["t10k-images-idx3-ubyte"] = contents["t10k-images-idx3-ubyte"][:-1] + b"\x07"
    put(tmp_path, contents)
    with pytest.raises(DataCorrupted, match=r"t10k-images-idx3-ubyte: expected .*MD5 [0-9a-f]{32}, got [0-9a-f]{32}"):
        loaded(source, path=str(tmp_path))


def test_a_truncated_archive_is_named(tmp_path, source, packed):
    packed["train-labels-idx1-ubyte"] = packed["train-labels-idx1-ubyte"][:-9]
    put(tmp_path, packed, ".gz")
    with pytest.raises(DataCorrupted, match=r"train-labels-idx1-ubyte\.gz: not a whole gzip file"):
        loaded(source, path=str(tmp_path))


def test_where_only_archives_have_a_checksum_an_unpacked_file_does_not_count(tmp_path, gz_source, contents, packed):
    put(tmp_path, contents)
    with pytest.raises(DataError, match=r"expected train-images-idx3-ubyte\.gz in"):
        loaded(gz_source, path=str(tmp_path), name="fashion-mnist")
    put(tmp_path, packed, ".gz")
    assert len(loaded(gz_source, path=str(tmp_path), name="fashion-mnist").splits["test"]) == 12


def test_where_archives_have_a_checksum_one_packed_anew_is_refused(tmp_path, gz_source, contents):
    put(tmp_path, {name: gzip.compress(content, compresslevel=1) for name, content in contents.items()}, ".gz")
    with pytest.raises(DataCorrupted, match=r"expected the \.gz file to have the MD5"):
        loaded(gz_source, path=str(tmp_path), name="fashion-mnist")


def test_a_missing_file_is_named_with_all_the_others_that_are_needed(tmp_path, source, contents):
    del contents["t10k-labels-idx1-ubyte"]
    put(tmp_path, contents)
    with pytest.raises(
        DataError, match=r"t10k-labels-idx1-ubyte\.gz or .*put the files there \(train-images.*leave data"
    ):
        loaded(source, path=str(tmp_path))


@pytest.mark.parametrize("kind", ["nothing", "a file"])
def test_a_path_that_is_no_folder_is_refused(tmp_path, source, kind):
    path = tmp_path / "data"
    if kind == "a file":
        path.write_bytes(b"")
    with pytest.raises(DataError, match=rf"data\.path: expected a folder .*found {kind} at"):
        loaded(source, path=str(path))


def test_files_are_downloaded_once_and_then_read_from_the_cache(tmp_path, source, packed, serve):
    address, requests = serve
    put(tmp_path / "mirror", packed, ".gz")
    source = dataclasses.replace(source, mirrors=(address,))
    first = loaded(source, cache=str(tmp_path / "cache"))
    assert len(requests) == 4
    assert sorted(path.name for path in (tmp_path / "cache/mnist").iterdir()) == sorted(name + ".gz" for name in FILES)
    second = loaded(source, cache=str(tmp_path / "cache"))
    assert len(requests) == 4
    np.testing.assert_array_equal(first.splits["train"].values, second.splits["train"].values)


def test_a_mirror_that_lacks_or_alters_a_file_is_passed_over(tmp_path, source, packed, serve):
    address, _ = serve
    put(tmp_path / "mirror/good", packed, ".gz")
    put(tmp_path / "mirror/altered", {name: gzip.compress(b"something else") for name in packed}, ".gz")
    mirrors = (address + "lacking/", address + "altered/", address + "good/")
    dataset = loaded(dataclasses.replace(source, mirrors=mirrors), cache=str(tmp_path / "cache"))
    assert len(dataset.splits["test"]) == 12


def test_a_download_with_a_wrong_checksum_leaves_nothing_in_the_cache(tmp_path, source, packed, serve):
    address, _ = serve
    put(tmp_path / "mirror", packed | {"t10k-images-idx3-ubyte": gzip.compress(b"something else")}, ".gz")
    source = dataclasses.replace(source, mirrors=(address,))
    with pytest.raises(
        DownloadFailed, match=r"cannot download t10k-images.*expected the unpacked bytes to have the MD5"
    ):
        loaded(source, cache=str(tmp_path / "cache"))
    left = {path.name for path in (tmp_path / "cache/mnist").iterdir()}
    assert left == {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"}


def test_without_a_network_the_error_says_which_files_to_put_where(tmp_path, source):
    # Nothing listens on port 1 of this machine.
    source = dataclasses.replace(source, mirrors=("http://127.0.0.1:1/",))
    with pytest.raises(DownloadFailed) as caught:
        loaded(source, cache=str(tmp_path / "cache"))
    message = str(caught.value)
    assert "http://127.0.0.1:1/train-images-idx3-ubyte.gz: " in message
    assert all(name + ".gz" in message for name in FILES)
    assert "put the files of mnist" in message
    assert "set data.path to it" in message


def test_a_cache_that_cannot_be_written_is_named(tmp_path, source, packed, serve):
    address, _ = serve
    put(tmp_path / "mirror", packed, ".gz")
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    with pytest.raises(DataError, match=r"data\.cache: cannot write to .*set data\.cache"):
        loaded(dataclasses.replace(source, mirrors=(address,)), cache=str(tmp_path / "cache"))


def test_a_damaged_file_in_the_cache_is_named_with_the_advice_to_delete_it(tmp_path, source, contents):
    put(tmp_path / "mnist", contents | {"train-images-idx3-ubyte": b"damaged"})
    with pytest.raises(DataCorrupted, match=r"mnist/train-images-idx3-ubyte: .*delete it, and it will be downloaded"):
        loaded(source, cache=str(tmp_path))


def test_no_file_is_ever_fetched_from_an_address_that_is_not_of_the_web(tmp_path, source, packed):
    put(tmp_path / "mirror", packed, ".gz")
    source = dataclasses.replace(source, mirrors=((tmp_path / "mirror").as_uri() + "/",))
    with pytest.raises(DownloadFailed, match="expected an address that begins with https"):
        loaded(source, cache=str(tmp_path / "cache"))


def test_a_test_fraction_is_refused_because_the_source_has_its_own_test_images(tmp_path, source, contents):
    put(tmp_path, contents)
    with pytest.raises(ConfigError, match=r"data\.test_fraction: mnist has a test split of its own.*leave"):
        loaded(source, path=str(tmp_path), test_fraction=0.1)


def test_the_provenance_names_every_file_with_its_checksum(tmp_path, source, contents):
    put(tmp_path, contents)
    provenance = loaded(source, path=str(tmp_path)).provenance
    assert json.loads(json.dumps(provenance)) == provenance
    assert {file["file"]: file["md5"] for file in provenance["files"]} == {
        name + ".gz": md5 for name, md5 in source.md5.items()
    }
    assert provenance["splits"] == {"train": 25, "valid": 5, "test": 12}
    assert str(tmp_path) not in json.dumps(provenance)


def test_a_number_on_the_test_images_says_what_it_was_measured_on(tmp_path, source, contents):
    put(tmp_path, contents)
    dataset = loaded(source, path=str(tmp_path))
    assert dataset.protocol("test") == "mnist test, 12 images, one Bernoulli binarisation with seed 20181"
    assert dataset.protocol("valid") == (
        "mnist valid, 5 images, cut off the training rows with seed 0, one Bernoulli binarisation with seed 20181"
    )
    grey = loaded(source, path=str(tmp_path), binarization="none")
    assert grey.protocol("test") == "mnist test, 12 images, values from 0 to 1 as given"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0\0\x08", id="shorter-than-a-header"),
        pytest.param(b"\0\0\x08\x03" + bytes(8), id="axes-missing"),
        pytest.param(b"\0\0\x0d\x01" + struct.pack(">I", 1) + bytes(4), id="floats"),
        pytest.param(b"\0\0\x08\x01" + struct.pack(">I", 3) + bytes(2), id="a-value-missing"),
        pytest.param(b"\0\0\x08\x01" + struct.pack(">I", 3) + bytes(4), id="a-value-too-many"),
        pytest.param(b"\0\0\x08\x04" + struct.pack(">4I", *[2**32 - 1] * 4), id="absurd-axes"),
    ],
)
def test_an_idx_file_that_contradicts_itself_is_refused(content):
    with pytest.raises(DataCorrupted, match="expected"):
        parse(content)


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 4)])
def test_parsing_inverts_writing(shape):
    array = np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)
    np.testing.assert_array_equal(parse(idx(array)), array)


def test_images_of_another_size_are_refused(tmp_path):
    contents = dict(zip(FILES, map(idx, (np.zeros((30, 8, 8), np.uint8), np.zeros(30, np.uint8)) * 2), strict=True))
    source = IdxSource(
        title="small images",
        md5={name: hashlib.md5(content).hexdigest() for name, content in contents.items()},
        checksum_of="unpacked",
        mirrors=(),
    )
    put(tmp_path, contents)
    with pytest.raises(DataCorrupted, match=r"small images: expected train images of \(28, 28\)"):
        loaded(source, path=str(tmp_path))


@pytest.mark.parametrize("published", [MNIST, FASHION_MNIST], ids=["mnist", "fashion-mnist"])
def test_the_published_tables_are_complete(published):
    assert set(published.md5) == set(FILES)
    assert len(set(published.md5.values())) == 4
    assert all(len(bytes.fromhex(md5)) == 16 for md5 in published.md5.values())
    assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in published.mirrors)
