"""What training minimises, and what each logged number is.

    estimated_bound             E_q[-log p(x|z)] + beta KL(q(z|x) || p(z)), z a code: with beta = 1 its value is -ELBO
    importance_weighted_bound   -log 1/m sum p(x|z) p(z) / q(z|x) over m codes: tighter than -ELBO
    relaxed_bound               with relaxed codes and the densities of their laws: a bound for the relaxed model only

What a number is called depends on what it was measured at: a value taken at relaxed codes is never called ELBO.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from training import noise
from training.costs import distortion_cost
from training.errors import ConfigError
from training.estimators import Estimator, ReinforceLeaveOneOut, draw_codes
from training.model import DiscreteVAE, default_relaxation
from training.noise import NoiseSource
from training.posteriors import Posterior
from training.ranks import ALONE, Ranks
from training.relaxations import RELAXATIONS
from training.schedules import ConstantSchedule, ScheduleOption, smallest


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Which bound, and how its rate is weighted.

    `kl` is "discrete", or "relaxed" for the density ratio of relaxed codes (Maddison, Mnih and Teh 2016, equation 20),
    with a prior relaxed at `prior_relaxation_temperature`. `num_importance_samples` above 1 trains the
    importance-weighted bound. `beta` weights the rate, and `free_bits` is the number of nats a latent may spend, on
    average over a batch, before it is charged (Kingma et al. 2016, arXiv:1606.04934, equation 15); with either away
    from its default the loss is no bound, and what is logged is still the bound with beta = 1 and nothing free.

    `encoder` is what the encoder follows where the bound is importance-weighted: the "bound" too, or the "inclusive_kl"
    of `inclusive_kl_surrogate`. The decoder and the prior follow the bound with either.

    `input_dropout` is the share of input values that the encoder does not see in a step of training, so that it does
    not learn the training rows by heart; see `posterior_of_some`. What is logged is the bound of the posterior that was
    used, and nothing is hidden from it in an evaluation.
    """

    kl: Literal["discrete", "relaxed"] = "discrete"
    num_importance_samples: int = 1
    prior_relaxation_temperature: float = 0.5
    beta: ScheduleOption = field(default_factory=lambda: ConstantSchedule(value=1.0))
    free_bits: float = 0.0
    encoder: Literal["bound", "inclusive_kl"] = "bound"
    input_dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.input_dropout < 1:
            raise ValueError(f"input_dropout: expected a share of 0 or more and below 1, got {self.input_dropout}")
        if self.encoder == "inclusive_kl" and (self.num_importance_samples < 2 or self.kl == "relaxed"):
            raise ValueError(
                'encoder: "inclusive_kl" weights the codes of an importance-weighted bound, expected '
                f'num_importance_samples of 2 or more and kl = "discrete", got {self.num_importance_samples} and '
                f'"{self.kl}"'
            )
        if self.num_importance_samples < 1:
            raise ValueError(f"num_importance_samples: expected at least 1, got {self.num_importance_samples}")
        if not (math.isfinite(self.prior_relaxation_temperature) and self.prior_relaxation_temperature > 0):
            raise ValueError(
                f"prior_relaxation_temperature: expected more than 0, got {self.prior_relaxation_temperature}"
            )
        if smallest(self.beta) < 0:
            raise ValueError(f"beta: expected 0 or more in every step, got {smallest(self.beta)}")
        if not (math.isfinite(self.free_bits) and self.free_bits >= 0):
            raise ValueError(f"free_bits: expected 0 or more nats a latent, got {self.free_bits}")
        if self.num_importance_samples > 1 and (self.free_bits > 0 or self.beta != ConstantSchedule(value=1.0)):
            raise ValueError("num_importance_samples: above 1, expected beta = 1 and free_bits = 0")


class Objective(NamedTuple):
    """`loss` is to be differentiated; `terms` are the numbers that are logged, by name, [B] without gradient."""

    loss: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, " B"]]


TrainingObjective = Callable[..., Objective]
"""An objective with model, estimator and options filled in: called with inputs [B, D], and with
`relaxation_temperature`, `generator` and `beta` by name, the temperature and beta 0-d tensors."""


def build_objective(
    config: ObjectiveConfig, model: DiscreteVAE, estimator: Estimator, *, ranks: Ranks = ALONE
) -> TrainingObjective:
    """The objective of a configuration, for a batch that these ranks share: its value and gradient are to be averaged
    over them. Raises ConfigError, saying what would work, when its parts do not fit.
    """
    needs_factors = config.free_bits > 0 or config.kl == "relaxed" or config.beta != ConstantSchedule(value=1.0)
    if needs_factors and not model.prior.is_factorised:
        raise ConfigError(
            'objective: beta, free_bits and kl = "relaxed" need a prior with independent latents, '
            f'got prior.name = "{model.prior.name}"; use "uniform" or "factorised"'
        )
    if config.encoder == "inclusive_kl" and not isinstance(estimator, ReinforceLeaveOneOut):
        raise ConfigError(
            f'objective.encoder: "inclusive_kl" is followed by score functions alone, got estimator.name = '
            f'"{estimator.name}"; use "reinforce_leave_one_out", or encoder = "bound"'
        )
    if config.kl == "relaxed":
        if estimator.is_discrete:
            raise ConfigError(
                'objective.kl: "relaxed" scores relaxed codes, which estimator.name = "pathwise" gives; '
                f'"{estimator.name}" gives discrete ones, which kl = "discrete" is for'
            )
        if config.free_bits > 0:
            raise ConfigError('objective.free_bits: expected 0 with kl = "relaxed", whose rate is not one of latents')
        return partial(
            relaxed_bound,
            model,
            num_samples=config.num_importance_samples,
            input_dropout=config.input_dropout,
            prior_relaxation_temperature=torch.tensor(config.prior_relaxation_temperature, device=model.device),
        )
    if config.num_importance_samples > 1:
        if not estimator.is_discrete:
            raise ConfigError(
                f'objective.num_importance_samples: above 1, estimator.name = "{estimator.name}" needs kl = "relaxed", '
                'the bound of relaxed codes; with kl = "discrete", any other estimator'
            )
        estimator.check_latent(model.latent.repeated(config.num_importance_samples))
        return partial(
            importance_weighted_bound,
            model,
            num_samples=config.num_importance_samples,
            estimator=estimator,
            encoder=config.encoder,
            input_dropout=config.input_dropout,
        )
    return partial(
        estimated_bound,
        model,
        estimator=estimator,
        free_bits=config.free_bits,
        input_dropout=config.input_dropout,
        ranks=ranks,
    )


def bound_name(model: DiscreteVAE) -> str:
    """What the sum of discrete distortion and rate is: -ELBO, unless the distortion is no likelihood's."""
    return "negative_elbo" if model.likelihood.is_likelihood else "cross_entropy_loss"


@torch.no_grad()
def discrete_negative_elbo(
    model: DiscreteVAE, inputs: Float[Tensor, "B D"], generator: NoiseSource
) -> Float[Tensor, " B"]:
    """An unbiased estimate of -ELBO from one discrete code a row, however the model is trained."""
    posterior = model.posterior(inputs)
    codes = draw_codes(posterior, generator)
    return model.kl(posterior.logits, codes).sum(dim=-1) - model.log_likelihood(inputs, codes)


def posterior_of_some(
    model: DiscreteVAE, inputs: Float[Tensor, "B D"], input_dropout: float, generator: NoiseSource
) -> Posterior:
    """q(z|x) of rows some of whose values are hidden from the encoder, each with the probability `input_dropout`.

    Dropout of the centred inputs (Srivastava et al. 2014): a hidden value is the data's mean, and what is left of the
    difference from the mean is enlarged, so that a linear encoder gets the same in expectation. Any q bounds log p(x),
    this one too: it regularises the encoder alone.
    """
    if input_dropout == 0:
        return model.posterior(inputs)
    # As many axes a row as a code's noise has, which is how a batch that several processes share tells them.
    shape = (*inputs.shape, *(1 for _ in model.latent.shape[1:]))
    standard = noise.draw("logistic", shape, generator).view_as(inputs)
    is_seen = (standard >= math.log(input_dropout) - math.log1p(-input_dropout)).to(inputs.dtype)
    mean = model.encoder.mean
    return model.posterior(mean + (inputs - mean) * is_seen / (1 - input_dropout))


def estimated_bound(
    model: DiscreteVAE,
    inputs: Float[Tensor, "B D"],
    *,
    estimator: Estimator,
    relaxation_temperature: Float[Tensor, ""],
    generator: NoiseSource,
    beta: Float[Tensor, ""] | float = 1.0,
    free_bits: float = 0.0,
    input_dropout: float = 0.0,
    ranks: Ranks = ALONE,
) -> Objective:
    """-ELBO = E_q[-log p(x|z)] + KL(q(z|x) || p(z)), the expectation left to an estimator, the KL in closed form.

    Where the estimator's codes are discrete, the value is an unbiased estimate of -ELBO whatever the bias of its
    gradient; where they are relaxed it is the "relaxed loss" of Maddison et al. 2016, equation 22, and bounds nothing.
    An autoregressive prior has a closed form for each latent given the ones before it; it joins the expectation.
    """
    posterior = posterior_of_some(model, inputs, input_dropout, generator)
    distortion = distortion_cost(model, inputs)
    bound = bound_name(model) if estimator.is_discrete else "relaxed_loss"
    sampling = {"relaxation_temperature": relaxation_temperature, "generator": generator}
    if not model.prior.is_factorised:
        # The logits keep their gradient inside the cost: without it score functions would miss a part.
        estimate = estimator(
            posterior, lambda codes: distortion(codes) + model.kl(posterior.logits, codes).sum(dim=-1), **sampling
        )
        return Objective(estimate.surrogate.mean(), {bound: estimate.cost})
    estimate = estimator(posterior, distortion, **sampling)
    kl = model.kl(posterior.logits)
    rate = kl.detach().sum(dim=-1)
    # What is free is free on average over the whole batch, so here rows of other ranks count.
    charged = ranks.mean(kl.mean(dim=0)).clamp_min(free_bits).sum() if free_bits > 0 else kl.sum(dim=-1).mean()
    prefix = "" if estimator.is_discrete else "relaxed_"
    return Objective(
        estimate.surrogate.mean() + beta * charged,
        {bound: estimate.cost + rate, f"{prefix}distortion": estimate.cost, "rate": rate},
    )


def relaxed_bound(
    model: DiscreteVAE,
    inputs: Float[Tensor, "B D"],
    *,
    relaxation_temperature: Float[Tensor, ""],
    prior_relaxation_temperature: Float[Tensor, ""],
    generator: NoiseSource,
    num_samples: int = 1,
    input_dropout: float = 0.0,
    beta: Float[Tensor, ""] | float = 1.0,
) -> Objective:
    """-log 1/m sum p(x|y) p(y) / q(y|x) over m relaxed codes y: for m = 1 -ELBO of the *relaxed* model.

    The densities are those of `Posterior.log_prob`; the prior's is Concrete (bits: binary Concrete) with the prior's
    logits. The only bound there is for relaxed samples (Maddison, Mnih and Teh 2016, equation 20 and section C.2); it
    says nothing of discrete codes.
    """
    posterior = posterior_of_some(model, inputs, input_dropout, generator)
    scores = posterior.scores(posterior.draw_noise(generator, num_samples))
    relaxed = posterior.relaxed(scores, relaxation_temperature)
    relaxed_logits = posterior.relaxed_logits(scores, relaxation_temperature)
    prior_logits = model.prior(relaxed[0])
    prior = RELAXATIONS[default_relaxation(model.latent)](prior_logits, model.latent)
    log_q = posterior.log_prob(relaxed_logits, relaxation_temperature).sum(dim=-1)
    log_p = prior.log_prob(relaxed_logits, prior_relaxation_temperature).sum(dim=-1)
    log_likelihood = model.log_likelihood(inputs, relaxed)
    log_weights = log_likelihood + beta * (log_p - log_q)
    loss = math.log(num_samples) - log_weights.logsumexp(dim=0)
    if num_samples > 1:
        return Objective(loss.mean(), {f"relaxed_iwae_{num_samples}": loss.detach()})
    terms = {
        "relaxed_elbo_loss": (log_q - log_p - log_likelihood)[0],
        "relaxed_distortion": -log_likelihood[0],
        "relaxed_rate": (log_q - log_p)[0],
    }
    return Objective(loss.mean(), {name: term.detach() for name, term in terms.items()})


def importance_weighted_bound(
    model: DiscreteVAE,
    inputs: Float[Tensor, "B D"],
    *,
    num_samples: int,
    estimator: Estimator,
    relaxation_temperature: Float[Tensor, ""],
    generator: NoiseSource,
    encoder: Literal["bound", "inclusive_kl"] = "bound",
    input_dropout: float = 0.0,
    beta: Float[Tensor, ""] | float = 1.0,  # noqa: ARG001 - 1, says ObjectiveConfig; the one signature
) -> Objective:
    """-log 1/m sum p(x|z) p(z) / q(z|x) over m > 1 discrete codes (Burda et al. 2015, arXiv:1509.00519, equation 8).

    The value is a bound on -log p(x), or with an estimator of several evaluations a mean of such bounds. The m codes
    of a row are m N independent latents and the bound a cost of theirs, so that any estimator of discrete codes gives
    its gradient, as biased as it is for other costs. The leave-one-out score function becomes VIMCO, whose baselines
    are made of the codes within a bound instead of other bounds (Mnih and Rezende 2016, arXiv:1602.06725). With it the
    encoder may follow the inclusive KL of the same codes.
    """
    posterior = posterior_of_some(model, inputs, input_dropout, generator)
    term = f"iwae_{num_samples}"
    if encoder == "inclusive_kl":
        codes = draw_codes(posterior, generator, num_samples)
        log_weights = _log_weights(model, inputs, posterior.logits.detach(), codes)
        bound = log_weights.logsumexp(dim=0) - math.log(num_samples)
        log_q = model.latent.log_prob(posterior.logits, codes)
        return Objective((inclusive_kl_surrogate(log_weights, log_q) - bound).mean(), {term: -bound.detach()})
    if isinstance(estimator, ReinforceLeaveOneOut):
        codes = draw_codes(posterior, generator, num_samples)
        log_weights = _log_weights(model, inputs, posterior.logits, codes)
        bound = log_weights.logsumexp(dim=0) - math.log(num_samples)
        advantage = bound.detach() - _bounds_without_each(log_weights.detach())
        log_q = model.latent.log_prob(posterior.logits, codes)
        return Objective(-(bound + (advantage * log_q).sum(dim=0)).mean(), {term: -bound.detach()})

    def cost(codes: Tensor) -> Tensor:
        # [..., B, m N, ...] as [..., m, B, N, ...]: samples lead.
        axis = codes.ndim - len(model.latent.shape)
        codes = codes.unflatten(axis, (num_samples, model.latent.num_latents)).movedim(axis, axis - 1)
        # The logits keep their gradient inside the cost: without it score functions would miss a part.
        log_weights = _log_weights(model, inputs, posterior.logits, codes)
        return math.log(num_samples) - log_weights.logsumexp(dim=-2)

    estimate = estimator(
        posterior.repeated(num_samples), cost, relaxation_temperature=relaxation_temperature, generator=generator
    )
    return Objective(estimate.surrogate.mean(), {term: estimate.cost})


def inclusive_kl_surrogate(log_weights: Float[Tensor, "S B"], log_q: Float[Tensor, "S B"]) -> Float[Tensor, " B"]:
    """Its gradient in `log_q` estimates that of KL(p(z|x) || q(z|x)); its value means nothing.

    The cross-entropy -E_p(z|x)[log q(z|x)] over codes drawn from q, each with its share of the weights: biased by the
    normalisation, and consistent, its bias falling as 1/S. No weight counts against a code, so there is no baseline to
    choose, and q is drawn over all of p(z|x) instead of into a part of it. The "wake-phase q update" of reweighted
    wake-sleep: Bornschein and Bengio 2014, arXiv:1406.2751, section 2.3; for discrete codes against the gradient of the
    bound: Le et al. 2018, arXiv:1805.10469.
    """
    return -(log_weights.detach().softmax(dim=0) * log_q).sum(dim=0)


def _log_weights(
    model: DiscreteVAE, inputs: Float[Tensor, "B D"], logits: Float[Tensor, "B *latent"], codes: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """Log-weight, log p(x|z) p(z) / q(z|x) in nats, [..., B], of codes [..., B, *latent] or [..., 1, *latent]."""
    return model.prior.log_prob(codes) - model.latent.log_prob(logits, codes) - distortion_cost(model, inputs)(codes)


def _bounds_without_each(log_weights: Float[Tensor, "S B"]) -> Float[Tensor, "S B"]:
    """The bound with the weight of each sample replaced by the geometric mean of the others (equations 7 to 9)."""
    num_samples = len(log_weights)
    others = (log_weights.sum(dim=0) - log_weights) / (num_samples - 1)
    replaced = log_weights.expand(num_samples, -1, -1).clone()
    replaced.diagonal(dim1=0, dim2=1).copy_(others.T)
    return replaced.logsumexp(dim=1) - math.log(num_samples)
