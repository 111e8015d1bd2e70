"""What the tests of every relaxation start from."""

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from models import noise as keyed_noise
from training.latents import LatentConfig
from training.posteriors import Posterior
from training.relaxations import RELAXATIONS

FALSE_ALARM = 1e-4
"""Probability, for each case and over seeds, that a statistical test here fails although nothing is wrong."""

LOGIT_OF_EXTREME = 36.7368005696771  # of the uniform 1 - 2^-53


def latent_of(relaxation: type[Posterior], num_latents: int) -> LatentConfig:
    """Latents that the relaxation can relax: bits, or variables of 3 categories."""
    (kind,) = relaxation.kinds
    return LatentConfig(kind=kind, num_latents=num_latents, num_categories=2 if kind == "binary" else 3)


def posterior(name: str, parameters: list, dtype: torch.dtype = torch.float64) -> Posterior:
    """One row of the relaxation of that name; `parameters` holds those of one latent after another."""
    relaxation = RELAXATIONS[name]
    return relaxation(torch.tensor([parameters], dtype=dtype), latent_of(relaxation, len(parameters)))


def draw_scores(law: Posterior, num_samples: int, temperature: float = 1.0, seed: int = 3) -> Tensor:
    """Scores [S, B, *latent] for noise that is fixed by the seed."""
    noise = law.draw_noise(torch.Generator().manual_seed(seed), num_samples)
    return law.scores(noise, temperature)


def extreme_noise(law: Posterior) -> Tensor:
    """The least, a middling and the greatest float32 noise that a served request can draw, [E, *latent]."""
    words = np.array([0, 1 << 62, 1 << 63, (1 << 64) - 1], np.uint64)
    values = keyed_noise.QUANTILES[law.noise_name(law.latent.kind)](keyed_noise.uniform_of_words(words))
    rows = np.stack([np.roll(np.resize(values, law.latent.shape), shift) for shift in range(len(words))])
    return torch.from_numpy(rows.astype(np.float32))


def assert_probability(happened: Tensor, probability: float) -> None:
    """That what `happened` (booleans) has this probability: exact binomial test, false alarm at `FALSE_ALARM`."""
    result = binomtest(int(happened.sum()), happened.numel(), float(probability))
    assert result.pvalue > FALSE_ALARM, (happened.double().mean(), probability)
