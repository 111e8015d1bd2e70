"""Laws of the code before any input is seen.

interface        what every prior offers
factorised       uniform, and learned with independent latents
autoregressive   learned, each latent given those before it
made             the masked network behind it
config           the section of the configuration, and the prior it asks for
"""

from training.priors.autoregressive import AutoregressivePrior
from training.priors.config import PRIORS, PriorConfig, build_prior
from training.priors.factorised import FactorisedPrior, UniformPrior
from training.priors.interface import Prior, PriorName

__all__ = [
    "PRIORS",
    "AutoregressivePrior",
    "FactorisedPrior",
    "Prior",
    "PriorConfig",
    "PriorName",
    "UniformPrior",
    "build_prior",
]
