"""The fixed binarisation, on small files of the same two formats whose checksums the tests supply."""

import hashlib
from functools import partial

import numpy as np
import pytest

from training.data import DataConfig, load
from training.data.binarized_mnist import BINARIZED_MNIST, BitSource, parse, read
from training.errors import ConfigError, DataCorrupted, DataError


@pytest.fixture
def bits():
    generator = np.random.default_rng(2)
    return {name: generator.integers(0, 2, size=(size, 784), dtype=np.uint8) for name, size in SIZES.items()}


SIZES = {"train": 12, "valid": 4, "test": 5}


@pytest.fixture
def source(bits):
    return BitSource(
        title="a small binarisation",
        sha256={name: hashlib.sha256(rows.tobytes()).hexdigest() for name, rows in bits.items()},
        mirrors=(),
    )


def write_texts(folder, bits):
    folder.mkdir(exist_ok=True)
    for name, rows in bits.items():
        text = "".join(" ".join(str(bit) for bit in row) + "\n" for row in rows)
        (folder / f"binarized_mnist_{name}.amat").write_text(text)


def write_archive(folder, bits):
    folder.mkdir(exist_ok=True)
    np.savez(folder / "binarized_mnist.npz", **{name: np.packbits(rows, axis=1) for name, rows in bits.items()})


def loaded(source, **options):
    return load(
        DataConfig(name="binarized-mnist", **options), readers={"binarized-mnist": partial(read, source=source)}
    )


@pytest.mark.parametrize("write", [write_texts, write_archive], ids=["three-texts", "one-archive"])
@pytest.mark.parametrize("folder", [".", "binarized-mnist", "binarized_mnist"])
def test_every_bit_arrives_from_either_format(tmp_path, source, bits, write, folder):
    write(tmp_path / folder, bits)
    dataset = loaded(source, path=str(tmp_path))
    for name, rows in bits.items():
        np.testing.assert_array_equal(dataset.splits[name].values, rows)
        np.testing.assert_array_equal(dataset.evaluation_inputs(name), rows.astype(np.float32))
    assert (dataset.scale, dataset.binarization, dataset.binary) == (1.0, "none", True)
    assert dataset.input.shape == (28, 28)


def test_the_protocol_warns_that_the_test_images_are_sorted(tmp_path, source, bits):
    write_archive(tmp_path, bits)
    dataset = loaded(source, path=str(tmp_path))
    assert dataset.protocol("test") == (
        "binarized-mnist test, 5 images, sorted by class (use all of it), values 0 and 1 as given"
    )
    assert dataset.protocol("valid") == "binarized-mnist valid, 4 images, values 0 and 1 as given"


@pytest.mark.parametrize("write", [write_texts, write_archive], ids=["text", "archive"])
def test_one_flipped_bit_is_refused_with_both_checksums(tmp_path, source, bits, write):
    bits["valid"][2, 3] ^= 1
    write(tmp_path, bits)
    with pytest.raises(DataCorrupted, match=r"bits of valid to have the SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}"):
        loaded(source, path=str(tmp_path))


def test_a_missing_text_is_named(tmp_path, source, bits):
    del bits["test"]
    write_texts(tmp_path, bits)
    with pytest.raises(DataError, match=r"expected binarized_mnist_test\.amat or binarized_mnist\.npz in"):
        loaded(source, path=str(tmp_path))


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04 half an archive", b""], ids=["text", "torn", "empty"])
def test_an_unreadable_archive_is_named(tmp_path, source, content):
    (tmp_path / "binarized_mnist.npz").write_bytes(content)
    with pytest.raises(DataCorrupted, match=r"binarized_mnist\.npz: expected an \.npz file"):
        loaded(source, path=str(tmp_path))


def test_an_archive_of_unpacked_rows_is_refused_with_what_was_expected(tmp_path, source, bits):
    np.savez(tmp_path / "binarized_mnist.npz", **bits)
    with pytest.raises(DataCorrupted, match=r"train: expected uint8 rows of 98 bytes, got uint8 of shape \(12, 784\)"):
        loaded(source, path=str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"0 " * 783, id="a-value-short"),
        pytest.param(b"0 " * 783 + b"2", id="a-two"),
        pytest.param(b"0 " * 783 + b"-", id="a-sign"),
        pytest.param(b"0.0 " * 784, id="floats"),
    ],
)
def test_a_text_that_is_not_lines_of_784_bits_is_refused(text):
    with pytest.raises(DataCorrupted, match="expected lines of 784 values 0 or 1"):
        parse(text)


def test_line_ends_of_any_system_are_read_alike():
    lines = [" ".join("01"[(row + place) % 2] for place in range(784)) for row in range(3)]
    expected = [[(row + place) % 2 for place in range(784)] for row in range(3)]
    for end in ("\n", "\r\n", " \n"):
        assert parse((end.join(lines) + end).encode()).tolist() == expected


def test_its_own_splits_cannot_be_cut_anew(tmp_path, source, bits):
    write_archive(tmp_path, bits)
    with pytest.raises(ConfigError, match=r"data\.valid_fraction: binarized-mnist has a valid split of its own"):
        loaded(source, path=str(tmp_path), valid_fraction=0.1)


def test_the_published_table_is_complete():
    assert set(BINARIZED_MNIST.sha256) == set(SIZES)
    assert len({bytes.fromhex(digest) for digest in BINARIZED_MNIST.sha256.values()}) == 3
