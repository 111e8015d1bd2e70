"""Data sets to train and evaluate on, as numpy arrays: `load(DataConfig(...))` gives a `Dataset`.

Sources: handwritten digits that ship with scikit-learn, MNIST, Fashion-MNIST and binarised MNIST (downloaded or from a
folder, always verified), a user's own arrays, a folder of images. Knows neither torch nor the network that will learn.
"""

from training.data.binarization import EVALUATION_SEED, Binarization
from training.data.config import DataConfig, SourceName
from training.data.dataset import Dataset
from training.data.sources import READERS, load
from training.data.splits import SPLIT_NAMES, Split, SplitName

__all__ = [
    "EVALUATION_SEED",
    "READERS",
    "SPLIT_NAMES",
    "Binarization",
    "DataConfig",
    "Dataset",
    "SourceName",
    "Split",
    "SplitName",
    "load",
]
