"""A small model of every relaxation; between them they have every prior and every likelihood."""

from typing import NamedTuple

import torch

from models.manifest import InputSpec, TrainingRecord
from models.repository import Repository, StoredModel
from training.export import export
from training.latents import LatentConfig
from training.likelihoods import LikelihoodConfig
from training.model import DiscreteVAE
from training.networks import MlpConfig
from training.priors import PriorConfig
from training.relaxations import RELAXATIONS

SHAPE = (2, 3)
SIZE = 6


class Case(NamedTuple):
    relaxation: str
    prior: str
    likelihood: str

    @property
    def name(self) -> str:
        """That of the model, too."""
        return f"{self.relaxation}.{self.prior}.{self.likelihood}"


CASES = [
    Case("binary_concrete", "factorised", "gaussian"),
    Case("concrete", "autoregressive", "discretised_logistic"),
    Case("logistic_normal", "autoregressive", "grey_cross_entropy"),
    Case("kumaraswamy", "factorised", "bernoulli"),
    Case("hard_concrete", "uniform", "discretised_logistic"),
    Case("hard_kumaraswamy", "autoregressive", "gaussian"),
]


def build(case: Case) -> DiscreteVAE:
    """Random weights, large enough that posterior and prior are far from flat. Few enough codes to write down."""
    (kind,) = RELAXATIONS[case.relaxation].kinds
    if kind == "binary":
        latent = LatentConfig(kind="binary", num_latents=5)
    else:
        latent = LatentConfig(kind="categorical", num_latents=3, num_categories=3)
    torch.manual_seed(0)
    model = DiscreteVAE(
        latent,
        MlpConfig(hidden=(16,), activation="tanh"),
        SHAPE,
        torch.full((SIZE,), 0.4),
        relaxation=case.relaxation,
        prior=PriorConfig(name=case.prior, hidden=(12,) if case.prior == "autoregressive" else None),
        likelihood=LikelihoodConfig(name=case.likelihood),
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2).add_(0.4 * torch.randn_like(weight))
    return model


def inputs(num_rows: int) -> torch.Tensor:
    """8-bit grey values, which every likelihood gives a probability to."""
    return torch.randint(0, 256, (num_rows, SIZE), generator=torch.Generator().manual_seed(1)) / 255


def publish(model: DiscreteVAE, case: Case, repository: Repository) -> StoredModel:
    return export(
        model,
        name=case.name,
        description="",
        input=InputSpec(shape=SHAPE, minimum=0, maximum=1),
        relaxation_temperature=0.6,
        estimator="none",
        metrics=[],
        training=TrainingRecord(data={}, config={}, num_steps=0, duration_seconds=0, device="cpu"),
        golden_inputs=inputs(20).numpy(),
        repository=repository,
    )
