"""What training minimises, and what each logged number is a bound on."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from training.estimators import Estimator
from training.model import DiscreteVAE


class Objective(NamedTuple):
    """One value a row.

    `loss` is to be differentiated. `negative_elbo` is the value of the bound -ELBO >= -log p(x), and `distortion`
    (-log p(x|z)) and `rate` (the KL) are its two terms; none of them carries a gradient.
    """

    loss: Float[Tensor, " B"]
    negative_elbo: Float[Tensor, " B"]
    distortion: Float[Tensor, " B"]
    rate: Float[Tensor, " B"]


def negative_elbo(
    model: DiscreteVAE,
    inputs: Float[Tensor, "B D"],
    *,
    estimator: Estimator,
    relaxation_temperature: Float[Tensor, ""],
    generator: torch.Generator,
) -> Objective:
    """-ELBO = E_q[-log p(x|z)] + KL(q(z|x) || p(z)), one discrete sample of z a row and the KL in closed form.

    The sample is discrete, so the value is an unbiased estimate of -ELBO whatever the estimator; a biased estimator
    biases the gradient of the first term alone.
    """
    logits = model.encoder(inputs)
    estimate = estimator(
        logits,
        lambda codes: -model.log_likelihood(inputs, codes),
        latent=model.latent,
        relaxation_temperature=relaxation_temperature,
        generator=generator,
    )
    rate = model.kl(logits).sum(dim=-1)
    return Objective(
        loss=estimate.surrogate + rate,
        negative_elbo=(estimate.cost + rate).detach(),
        distortion=estimate.cost,
        rate=rate.detach(),
    )
