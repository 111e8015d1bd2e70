"""MNIST and Fashion-MNIST: four gzipped idx files each, 60,000 + 10,000 grey images of 28 x 28 and their labels.

LeCun, Cortes and Burges, "The MNIST database of handwritten digits"; Xiao, Rasul and Vollgraf 2017,
arXiv:1708.07747. The format: two zero bytes, a type (8 is unsigned byte), the number of axes, each axis as a
big-endian 32-bit integer, then the values row by row.
"""

import gzip
import hashlib
import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.data.config import DataConfig
from training.data.material import Material, input_spec
from training.data.published import MAX_FILE_BYTES, read_or_download
from training.data.splits import Split, SplitName
from training.errors import DataCorrupted

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 8
_IMAGE_SHAPE = (28, 28)
_CHECKSUM_WORDS = {"unpacked": "unpacked bytes", "gz": "gz file"}
_USUAL_FRACTIONS: dict[SplitName, float] = {"valid": 1 / 6}


@dataclass(frozen=True)
class IdxSource:
    """A published data set of idx files.

    `md5` maps a file's name, without .gz, to its checksum: of the unpacked bytes, or of the .gz file as published,
    where only that is known. `mirrors` are the addresses of folders, tried in turn.
    """

    title: str
    md5: Mapping[str, str]
    checksum_of: Literal["unpacked", "gz"]
    mirrors: tuple[str, ...]


MNIST = IdxSource(
    title="MNIST (LeCun, Cortes and Burges)",
    md5={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    checksum_of="unpacked",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)

FASHION_MNIST = IdxSource(
    title="Fashion-MNIST (Xiao, Rasul and Vollgraf 2017)",
    md5={
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    checksum_of="gz",
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        # The publisher's own host; it speaks no https. What it sends counts only with the right checksum.
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
)


def read(config: DataConfig, source: IdxSource) -> Material:
    """The training images, of which valid is cut, and the test images (the files named t10k)."""
    return Material(
        splits={"train": _read_split(config, source, "train"), "test": _read_split(config, source, "t10k")},
        input=input_spec(_IMAGE_SHAPE),
        scale=255.0,
        origin={
            "source": source.title,
            "files": [
                {"file": name + ".gz", "md5": md5, "checksum_of": _CHECKSUM_WORDS[source.checksum_of]}
                for name, md5 in source.md5.items()
            ],
        },
        usual_fractions=_USUAL_FRACTIONS,
    )


def _read_split(config: DataConfig, source: IdxSource, prefix: str) -> Split:
    images = _read_file(config, source, f"{prefix}-images-idx3-ubyte")
    labels = _read_file(config, source, f"{prefix}-labels-idx1-ubyte")
    if images.shape[1:] != _IMAGE_SHAPE or labels.shape != images.shape[:1]:
        raise DataCorrupted(
            f"{source.title}: expected {prefix} images of {_IMAGE_SHAPE} and a label for each, got images of shape "
            f"{images.shape} and labels of shape {labels.shape}"
        )
    return Split(images.reshape(len(images), -1), labels.astype(np.int64))


def _read_file(config: DataConfig, source: IdxSource, name: str) -> NDArray[np.uint8]:
    # An unpacked file can be verified only where the checksum is of the unpacked bytes.
    endings = (".gz", "") if source.checksum_of == "unpacked" else (".gz",)
    return read_or_download(
        config,
        names=[name + ending for ending in endings],
        all_names=[each + ".gz" for each in source.md5],
        mirrors=source.mirrors,
        decode=lambda content, _: parse(_verified(content, source, name)),
    )


def _verified(content: bytes, source: IdxSource, name: str) -> bytes:
    """The unpacked bytes of a file, packed or not. Raises DataCorrupted unless they are the published ones."""
    if source.checksum_of == "gz":
        _check_md5(content, source.md5[name], "the .gz file")
    unpacked = _unpack(content) if content.startswith(_GZIP_MAGIC) else content
    if source.checksum_of == "unpacked":
        _check_md5(unpacked, source.md5[name], "the unpacked bytes")
    return unpacked


def _check_md5(content: bytes, expected: str, of_what: str) -> None:
    got = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if got != expected:
        raise DataCorrupted(f"expected {of_what} to have the MD5 {expected}, got {got}: not the published file")


def _unpack(content: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(MAX_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataCorrupted(f"not a whole gzip file: {error}") from error
    if len(unpacked) > MAX_FILE_BYTES:
        raise DataCorrupted(f"expected at most {MAX_FILE_BYTES} unpacked bytes, got more")
    return unpacked


def parse(content: bytes) -> NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes. Raises DataCorrupted when header and length do not agree."""
    header_bytes = 4 + 4 * content[3] if len(content) >= 4 else 4
    if len(content) < header_bytes or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE or content[3] == 0:
        raise DataCorrupted(f"expected an idx file of unsigned bytes, got the first bytes {content[:4].hex(' ')!r}")
    shape = struct.unpack(f">{content[3]}I", content[4:header_bytes])
    values = np.frombuffer(content, np.uint8, offset=header_bytes)
    size = 1
    for length in shape:
        size *= length
    if values.size != size:
        raise DataCorrupted(f"expected {size} values for the shape {shape} in the header, got {values.size}")
    return values.reshape(shape).copy()  # frombuffer's view cannot be written to
