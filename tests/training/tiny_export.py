"""The options of an export of a tiny model, and real inputs for it."""

import torch
from tiny_vae import bits

from models.manifest import InputSpec, Metric, TrainingRecord
from models.repository import Repository
from training.export import export

METRIC = Metric(name="negative_elbo", value=3.5, split="test", num_examples=7, protocol="six coins", standard_error=0.1)
RECORD = TrainingRecord(
    data={"name": "six coins"}, config={"seed": 1}, num_steps=3, duration_seconds=0.5, device="a test's CPU"
)


def real_inputs(num_rows):
    return bits(num_rows, dtype=torch.float32).numpy()


def export_tiny(repository, model, **changes):
    options = {
        "name": "tiny",
        "description": "Six coins.",
        "input": InputSpec(shape=(2, 3), minimum=0, maximum=1),
        "relaxation_temperature": 0.6,
        "estimator": "straight_through_gumbel",
        "metrics": [METRIC],
        "training": RECORD,
        "golden_inputs": real_inputs(20),
        "repository": Repository(repository),
    }
    return export(model, **{**options, **changes})
