"""From a configuration to a data set: the one place where sources, splits and binarisation meet."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from training.data import arrays, binarized_mnist, digits, folder, idx
from training.data.binarization import EVALUATION_SEED, Binarization
from training.data.config import DataConfig, SourceName
from training.data.dataset import Dataset, values_are_binary
from training.data.material import Material
from training.data.splits import SPLIT_NAMES, SplitName, complete
from training.errors import ConfigError

Reader = Callable[[DataConfig], Material]

READERS: Mapping[SourceName, Reader] = {
    "digits": digits.read,
    "mnist": partial(idx.read, source=idx.MNIST),
    "fashion-mnist": partial(idx.read, source=idx.FASHION_MNIST),
    "binarized-mnist": partial(binarized_mnist.read, source=binarized_mnist.BINARIZED_MNIST),
    "array": arrays.read,
    "folder": folder.read,
}
"""What reads the data of each name."""


def load(config: DataConfig, *, readers: Mapping[SourceName, Reader] = READERS) -> Dataset:
    """Read, verify, split. The same configuration and files give the same rows in the same order.

    Raises ConfigError when an option does not fit what the source holds, DataError when the data cannot be used.
    """
    material = readers[config.name](config)
    fractions = _fractions(config, material)
    splits = complete(material.splits, fractions, config.split_seed)
    binary = values_are_binary(splits, material.scale)
    usual: Binarization = "none" if binary else "dynamic"
    binarization = config.binarization or usual
    remarks = dict(material.remarks)
    if fractions:
        remarks |= dict.fromkeys(fractions, f"cut off the training rows with seed {config.split_seed}")
        remarks["train"] = f"less those cut off with seed {config.split_seed}"
    provenance: dict[str, Any] = {
        "name": config.name,
        **material.origin,
        "input_shape": list(material.input.shape),
        "scale": material.scale,
        "splits": {name: len(splits[name]) for name in SPLIT_NAMES},
        "split_seed": config.split_seed if fractions else None,
        "binarization": binarization,
        "evaluation_seed": EVALUATION_SEED if binarization == "dynamic" else None,
        "remarks": remarks,
    }
    return Dataset(
        name=config.name,
        title=config.name if material.of is None else f"{config.name} {material.of}",
        input=material.input,
        splits=splits,
        scale=material.scale,
        binarization=binarization,
        provenance=provenance,
        binary=binary,
        remarks=remarks,
    )


def _fractions(config: DataConfig, material: Material) -> dict[SplitName, float]:
    """How much to cut off the training rows for each split that the source lacks."""
    asked: dict[SplitName, float | None] = {"valid": config.valid_fraction, "test": config.test_fraction}
    fractions: dict[SplitName, float] = {}
    for name, fraction in asked.items():
        if name not in material.splits:
            fractions[name] = material.usual_fractions[name] if fraction is None else fraction
        elif fraction is not None:
            raise ConfigError(
                f"data.{name}_fraction: {config.name} has a {name} split of its own, got {fraction}; leave "
                "the option out"
            )
    if sum(fractions.values()) >= 1:
        raise ConfigError(
            f"data.valid_fraction + data.test_fraction: expected less than 1, got "
            f"{' + '.join(f'{fraction:g}' for fraction in fractions.values())}; "
            "an option left out has the usual value of the source"
        )
    return fractions
