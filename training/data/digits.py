"""Handwritten digits that ship with scikit-learn: 1,797 images of 8 x 8 pixels, grey values 0..16.

The test set of Alpaydin and Kaynak 1998, "Optical recognition of handwritten digits" (UCI). No download.
"""

import hashlib

import numpy as np
import sklearn
from sklearn.datasets import load_digits

from training.data.config import DataConfig
from training.data.material import Material, input_spec
from training.data.splits import Split


def read(config: DataConfig) -> Material:  # noqa: ARG001  # every reader takes the configuration; this one needs none
    """All digits as training rows; valid and test are cut from them."""
    bunch = load_digits()
    values = bunch.data.astype(np.uint8)
    return Material(
        splits={"train": Split(values, bunch.target.astype(np.int64))},
        input=input_spec((8, 8)),
        scale=16.0,
        origin={
            "source": f"sklearn.datasets.load_digits of scikit-learn {sklearn.__version__}",
            "files": [
                {
                    "file": "load_digits().data",
                    "sha256": hashlib.sha256(values.tobytes()).hexdigest(),
                    "checksum_of": "values as uint8, row by row",
                }
            ],
        },
        usual_fractions={"valid": 0.1, "test": 0.2},
    )
