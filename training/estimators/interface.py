"""What every gradient estimator takes and gives back.

The gradient wanted is that of E_q[cost(code)] with respect to the posterior's parameters and to whatever else `cost`
depends on, for instance a decoder's weights. Shapes as in `training.latents`; S samples, C codes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from models.manifest import Kind
from training import noise
from training.errors import ConfigError
from training.latents import LatentConfig
from training.noise import NoiseSource
from training.posteriors import Posterior

Cost = Callable[[Tensor], Tensor]
"""A cost of codes as tensors, or of relaxed values, one value a row: [..., B, *latent] to [..., B].

Leading axes are samples for the same rows. A 1 in the place of B is one code for every row, so that a code has to be
decoded once only: what comes back is [..., B] all the same, or broadcasts to it.
"""


class Estimate(NamedTuple):
    """What an estimator returns, a value a row.

    `surrogate` is to be differentiated: its gradient is the estimator's; its value means nothing in general. `cost`
    carries no gradient. For a discrete estimator it is an unbiased estimate of E_q[cost(code)]; for one that is not
    (`Estimator.is_discrete`) it is the cost of a relaxed value, and estimates nothing about codes.
    """

    cost: Float[Tensor, " B"]
    surrogate: Float[Tensor, " B"]


@dataclass(frozen=True, kw_only=True)
class Estimator(ABC):
    """A gradient estimator with its options: the section `[estimator]` of a configuration, and what it configures.

    An estimator of the *law* of the code uses nothing of the posterior but its logits, and is the same for every
    relaxation; one of its *relaxation* follows the relaxed value too.
    """

    name: str
    """As configurations and manifests say it."""

    kinds: ClassVar[tuple[Kind, ...]] = ("binary", "categorical")
    """Kinds of latents for which the method is defined."""
    is_discrete: ClassVar[bool] = True
    """Whether the cost meets codes alone. Otherwise no value that comes of it is one of a discrete model."""
    is_unbiased: ClassVar[bool] = False
    """Whether the gradient of the surrogate has the gradient of E_q[cost(code)] as its expectation."""
    follows_relaxation: ClassVar[bool] = False
    """Whether it depends on the posterior's relaxation, not on the law of the code alone."""
    uses_relaxation_temperature: ClassVar[bool] = True
    """Whether the relaxation temperature changes the gradient. It never changes a code."""
    minimum_temperature: ClassVar[float] = 0.0
    """Relaxation temperatures below this are refused."""

    @abstractmethod
    def __call__(
        self, posterior: Posterior, cost: Cost, *, relaxation_temperature: Float[Tensor, ""], generator: NoiseSource
    ) -> Estimate:
        """One estimate a row. `relaxation_temperature` is a 0-d tensor."""

    def num_evaluations(self, latent: LatentConfig) -> int:  # noqa: ARG002 - one of the methods needs it
        """How many codes a row the cost is evaluated at."""
        return 1

    def check_latent(self, latent: LatentConfig) -> None:
        """Raises ConfigError, saying what would work, when the method is not defined for these latents."""
        if latent.kind not in self.kinds:
            raise ConfigError(
                f"estimator.name: {self.name!r} is defined for {' and '.join(self.kinds)} latents, and these are "
                f'{latent.kind}; "reinforce_leave_one_out" is unbiased for both kinds'
            )

    def check_temperature(self, relaxation_temperature: float) -> None:
        """Raises ConfigError when the method is not to be used at this relaxation temperature."""
        if not relaxation_temperature > 0:
            raise ConfigError(f"relaxation_temperature: expected more than 0, got {relaxation_temperature}")
        if relaxation_temperature < self.minimum_temperature:
            raise ConfigError(
                f"relaxation_temperature: {self.name!r} needs at least {self.minimum_temperature:g}, "
                f"got {relaxation_temperature:g}; raise the schedule's minimum, or choose another estimator"
            )


def draw_codes(posterior: Posterior, generator: NoiseSource, num_samples: int | None = None) -> Float[Tensor, "..."]:
    """Exact samples of the code without gradient, [B, *latent], or [S, B, *latent] for `num_samples` of each row.

    One of each row by Gumbel-max, and its like for bits, on the logits: whatever the relaxation and its temperature,
    one generator state gives one code. Several are for methods that want no relaxed value of the same noise, and take
    one Logistic variable a latent.
    """
    latent, logits = posterior.latent, posterior.logits.detach()
    if num_samples is not None and latent.kind == "categorical":
        return _categories_by_inversion(logits, num_samples, generator)
    lead = () if num_samples is None else (num_samples,)
    standard = noise.draw(latent.noise, (*lead, *logits.shape), generator)
    # The sum is at least float32: in bfloat16 distinct scores would tie.
    return latent.most_probable(logits + standard).to(logits.dtype)


def _categories_by_inversion(
    logits: Float[Tensor, "B N K"], num_samples: int, generator: NoiseSource
) -> Float[Tensor, "S B N K"]:
    """One-hot samples, each the number of thresholds that a standard Logistic variable is above.

    That variable is above the log-odds of "one of the first k" with the probability of all others. Log-odds are exact
    in both tails, and a K-th of Gumbel-max's noise is drawn; a category rarer than 2^-24 may never come.
    """
    standard = noise.draw("logistic", (num_samples, *logits.shape[:-1], 1), generator)
    law = torch.softmax(logits.float(), dim=-1)
    first, others = law.cumsum(dim=-1)[..., :-1], law.flip(-1).cumsum(dim=-1).flip(-1)[..., 1:]
    is_above = (standard >= first.log() - others.log()).to(logits.dtype)
    # 1 where the threshold before is passed and the next is not.
    return F.pad(is_above, (1, 0), value=1.0) - F.pad(is_above, (0, 1), value=0.0)


def check_count(name: str, value: int, minimum: int, reason: str = "") -> None:
    """Raises ValueError naming the option when there are too few."""
    if value < minimum:
        raise ValueError(f"{name}: expected at least {minimum}, got {value}{reason}")


def check_positive(name: str, value: float) -> None:
    """Raises ValueError naming the option when it is not a finite number above 0."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: expected a finite number above 0, got {value}")
