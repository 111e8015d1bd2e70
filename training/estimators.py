"""Gradient estimators for an expectation over discrete codes, behind one signature.

The gradient wanted is that of E_q[cost(code)] with respect to the logits of q and to whatever else `cost` depends on,
for instance a decoder's weights. An estimator takes the logits and the cost and returns the cost of a sampled code
together with a surrogate, whose gradient is the estimate. Randomness is an argument.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from training import noise
from training.latents import LatentConfig
from training.relaxations import relax

Cost = Callable[[Float[Tensor, "B *latent"]], Float[Tensor, " B"]]
"""A cost of codes as tensors, one value a row."""


class Estimate(NamedTuple):
    """What an estimator returns, a value a row.

    `cost` is an unbiased estimate of E_q[cost(code)], without gradient. `surrogate` is to be differentiated: its
    gradient is the estimator's; its value means nothing in general.
    """

    cost: Float[Tensor, " B"]
    surrogate: Float[Tensor, " B"]


@runtime_checkable
class Estimator(Protocol):
    """The one signature. `relaxation_temperature` is a 0-d tensor."""

    def __call__(
        self,
        logits: Float[Tensor, "B *latent"],
        cost: Cost,
        *,
        latent: LatentConfig,
        relaxation_temperature: Float[Tensor, ""],
        generator: torch.Generator,
    ) -> Estimate: ...


def straight_through(
    codes: Float[Tensor, "B *latent"], relaxed: Float[Tensor, "B *latent"]
) -> Float[Tensor, "B *latent"]:
    """The code going forward, exactly 0 or 1; the gradient of `relaxed` going backward.

    Biased in general. Exact in expectation for a cost linear in the code when `relaxed` is the mean of the code; not
    when it is a Concrete sample. Bengio, Leonard and Courville 2013, arXiv:1308.3432.
    """
    return codes.detach() + (relaxed - relaxed.detach())


def straight_through_gumbel(
    logits: Float[Tensor, "B *latent"],
    cost: Cost,
    *,
    latent: LatentConfig,
    relaxation_temperature: Float[Tensor, ""],
    generator: torch.Generator,
) -> Estimate:
    """Straight-through over the relaxed value of the *same* noise that made the code (Jang, Gu and Poole 2016, 2.2).

    The code is an exact sample of q, so `cost` is unbiased; the gradient is that of a softmax (bits: a sigmoid) at
    the perturbed logits over tau, and is biased. Bits take Logistic noise, categories Gumbel noise.
    """
    scores = logits + noise.draw(latent.noise, logits.shape, generator).to(logits.dtype)
    relaxed = relax(scores, relaxation_temperature, latent.kind)
    value = cost(straight_through(latent.most_probable(scores), relaxed))
    return Estimate(value.detach(), value)


ESTIMATORS: dict[str, Estimator] = {"straight_through_gumbel": straight_through_gumbel}
"""Every estimator by the name that configurations and manifests use."""
