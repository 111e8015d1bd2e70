"""The models that are timed, and the rows they are trained on."""

from dataclasses import dataclass

import numpy as np

from models.manifest import InputSpec
from training import config
from training.config import RunConfig
from training.data import DataConfig, Dataset, load
from training.data.material import input_spec
from training.data.splits import Split

LEARNING_RATE = 1e-3
BATCH_SIZE = 100
TEMPERATURE = {"kind": "exponential", "initial": 1.0, "minimum": 0.5, "rate": 1e-4}


@dataclass(frozen=True)
class Workload:
    """An architecture, 784 values to a code and back."""

    name: str
    title: str
    hidden: tuple[int, ...]
    num_latents: int
    num_categories: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Of all layers: encoder, code, decoder."""
        code = self.num_latents * (1 if self.num_categories == 2 else self.num_categories)
        return (784, *self.hidden, code, *reversed(self.hidden), 784)

    def run(self, *, seed: int = 0, num_steps: int = 1_000_000, **training: object) -> RunConfig:
        """The configuration of a run of `training`."""
        latent = {"kind": "binary", "num_latents": self.num_latents}
        if self.num_categories > 2:
            latent = {
                "kind": "categorical",
                "num_latents": self.num_latents,
                "num_categories": self.num_categories,
            }
        settings = {"seed": seed, "num_steps": num_steps, "batch_size": BATCH_SIZE, "num_threads": 1, **training}
        return config.parse(
            {
                "name": self.name,
                "latent": latent,
                "network": {"kind": "mlp", "hidden": list(self.hidden)},
                "relaxation_temperature": TEMPERATURE,
                "optimizer": {"name": "adam", "learning_rate": LEARNING_RATE},
                "training": settings,
            }
        )


LINEAR = Workload("linear-200-bits", "784-200-784, 200 bits", (), 200, 2)
CATEGORICAL = Workload("categorical-30x10", "512-256, 30 variables of 10 categories", (512, 256), 30, 10)


def rows_of(path: str | None) -> tuple[Dataset, str]:
    """The fixed binarisation of MNIST from the folder `path`, or bits of its size and density that mean nothing.

    In words, too, which it was.
    """
    if path is not None:
        dataset = load(DataConfig(name="binarized-mnist", path=path))
        return dataset, dataset.protocol("train")
    generator = np.random.default_rng(0)
    density = generator.beta(0.3, 2.0, size=784)
    splits = {
        name: Split((generator.random((size, 784)) < density).astype(np.uint8))
        for name, size in (("train", 50_000), ("valid", 10_000), ("test", 1_000))
    }
    spec: InputSpec = input_spec((28, 28))
    dataset = Dataset(
        name="array",
        title="random bits",
        input=spec,
        splits=splits,
        scale=1.0,
        binarization="none",
        provenance={},
        binary=True,
    )
    return dataset, "random bits of the size of MNIST, which hold nothing to learn"
