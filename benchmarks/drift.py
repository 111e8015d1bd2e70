"""How far the codes of changed inputs are from those of training: the table of docs/operations.md.

    python benchmarks/drift.py [--data-path FOLDER]

Encodes the test split of MNIST with the shipped models, as it is evaluated and changed, and prints the total variation
distance of each latent's symbols from the manifest's `usage`: mean, largest, and what the largest is by chance.
FOLDER holds the files of MNIST; without it they are downloaded.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.manifest import CodeUsage
from models.repository import Repository
from service.engine import Engine
from service.observation.usage import by_chance, training_drift
from training.data import DataConfig, load

SHIPPED = Path(__file__).parents[1] / "models" / "shipped"


def changed(grey: NDArray[np.float32], evaluated: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Inputs [n, 28, 28] by what was done to them."""
    return {
        "as evaluated, binarised": evaluated,
        "grey, as they are": grey,
        "half as bright": grey / 2,
        "shifted by 3 pixels": np.roll(grey, 3, axis=2),
        "upside down": grey[:, ::-1],
        "inverted": 1 - grey,
    }


def distances(engine: Engine, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each latent, [N]."""
    manifest = engine.manifest
    codes = engine.encode(np.ascontiguousarray(inputs)).codes
    assert codes is not None
    shares = CodeUsage.of(codes, manifest.layout, manifest.kind, split="test").by_symbol(manifest.kind)
    found = training_drift(manifest, shares)
    assert found is not None
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path")
    dataset = load(DataConfig(name="mnist", path=parser.parse_args().data_path))
    grey = (dataset.splits["test"].values / dataset.scale).astype(np.float32).reshape(-1, 28, 28)
    inputs = changed(grey, dataset.evaluation_inputs("test").reshape(-1, 28, 28))
    engines = [
        Engine.load(stored, device="cpu")
        for stored in map(Repository(SHIPPED).read, ("mnist-binary", "mnist-categorical"))
    ]
    print("| inputs | " + " | ".join(f"`{engine.manifest.name}`: mean, largest" for engine in engines) + " |")
    print("| --- " * (1 + len(engines)) + "|")
    for change, rows in inputs.items():
        found = [distances(engine, rows) for engine in engines]
        print(f"| {change} | " + " | ".join(f"{each.mean():.3f}, {each.max():.3f}" for each in found) + " |")
    chance = [by_chance(engine.manifest, len(grey)) for engine in engines]
    print("| largest, by chance | " + " | ".join(f", {bound:.3f}" for bound in chance) + " |")


if __name__ == "__main__":
    main()
