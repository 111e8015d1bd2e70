"""The fixed binarisation of MNIST: 50,000 + 10,000 + 10,000 images of 784 bits, drawn once, the same for everybody.

Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks"; as distributed with Larochelle
and Murray 2011, "The neural autoregressive distribution estimator". Read from three text files, one image a line, or
from one `binarized_mnist.npz` with the arrays train, valid and test, each row packed by `numpy.packbits`.

The test split is sorted by the class of the digit: a number measured on its first rows says nothing of the others.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.config import DataConfig
from training.data.material import Material, input_spec
from training.data.published import read_or_download
from training.data.splits import SPLIT_NAMES, Split, SplitName
from training.errors import DataCorrupted

_SHAPE = (28, 28)
_NUM_BITS = 784
_ARCHIVE = "binarized_mnist.npz"


@dataclass(frozen=True)
class BitSource:
    """A published binarisation: the SHA-256 of each split's bits as one uint8 each, row by row."""

    title: str
    sha256: Mapping[SplitName, str]
    mirrors: tuple[str, ...]


BINARIZED_MNIST = BitSource(
    title="fixed binarisation of MNIST (Salakhutdinov and Murray 2008; Larochelle and Murray 2011)",
    sha256={
        "train": "43490d4d6ac9002727af4426d8748609fdb7e4094fa65ad8d681ea60082a7a5a",
        "valid": "069b4f0beb389b776478c3e872b4df71c95ac4be64d7cbe6d32e24ebac8e6d5e",
        "test": "ca0294c3b8d984c7a1dc891015a8eea6f37bae59a34e35ea0fc8c47110a8dd86",
    },
    # It speaks no https. What it sends counts only with the right checksum.
    mirrors=("http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",),
)


def read(config: DataConfig, source: BitSource) -> Material:
    """All three splits, as published."""
    return Material(
        splits={name: Split(_read_split(config, source, name)) for name in SPLIT_NAMES},
        input=input_spec(_SHAPE),
        scale=1.0,
        origin={
            "source": source.title,
            "files": [
                {"file": _text_name(name), "sha256": source.sha256[name], "checksum_of": "bits as uint8, row by row"}
                for name in SPLIT_NAMES
            ],
        },
        remarks={"test": "sorted by class (use all of it)"},
    )


def _text_name(split: SplitName) -> str:
    return f"binarized_mnist_{split}.amat"


def _read_split(config: DataConfig, source: BitSource, split: SplitName) -> NDArray[np.uint8]:
    def decode(content: bytes, name: str) -> NDArray[np.uint8]:
        bits = unpack(content, split) if name == _ARCHIVE else parse(content)
        got = hashlib.sha256(bits.tobytes()).hexdigest()
        if got != source.sha256[split]:
            raise DataCorrupted(
                f"expected the bits of {split} to have the SHA-256 {source.sha256[split]}, got {got}: not the "
                "published binarisation"
            )
        return bits

    return read_or_download(
        config,
        names=[_text_name(split), _ARCHIVE],
        all_names=[_text_name(name) for name in SPLIT_NAMES],
        mirrors=source.mirrors,
        decode=decode,
    )


def parse(content: bytes) -> NDArray[np.uint8]:
    """Bits [n, 784] of a text file: lines of 784 characters 0 and 1 with white space between them."""
    characters = np.frombuffer(content, np.uint8)
    digits = characters[characters > ord(" ")]
    bits = digits - np.uint8(ord("0"))  # whatever is below "0" wraps around to a large number
    if bits.size == 0 or bits.size % _NUM_BITS or bits.max() > 1:
        raise DataCorrupted(f"expected lines of {_NUM_BITS} values 0 or 1, got something else")
    return bits.reshape(-1, _NUM_BITS)


def unpack(content: bytes, split: SplitName) -> NDArray[np.uint8]:
    """Bits [n, 784] of one split of the archive, whose rows are packed into 98 bytes, the first bit highest."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            packed = archive[split]
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise DataCorrupted(f"expected an .npz file with the arrays {', '.join(SPLIT_NAMES)}: {error}") from error
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] * 8 != _NUM_BITS:
        raise DataCorrupted(
            f"{split}: expected uint8 rows of {_NUM_BITS // 8} bytes, got {packed.dtype} of shape {packed.shape}"
        )
    return np.unpackbits(packed, axis=1)
