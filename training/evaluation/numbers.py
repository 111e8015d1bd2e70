"""From what was measured of each row, and of the codes of all rows, to named metrics with protocol.

Shapes: R rows, N latents, K categories.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from models.codes import CodeLayout
from models.manifest import Metric
from training.code_usage import CodeUsage, entropy_bits
from training.errors import EvaluationError
from training.evaluation.config import EvaluationConfig
from training.exact_bounds import ExactBounds
from training.likelihoods import Likelihood
from training.model import DiscreteVAE
from training.objectives import bound_name
from training.priors import Prior, PriorName

ACTIVE_ABOVE = 0.01
"""A latent is active when its KL, averaged over the rows, is above this many nats."""
NEAR_TIE = 1e-3
"""A symbol is nearly tied when its two best scores are closer than this."""

_PRIOR_IN_WORDS: dict[PriorName, str] = {
    "uniform": "the uniform prior",
    "factorised": "the learned factorised prior",
    "autoregressive": "the learned autoregressive prior",
}


@dataclass(frozen=True, kw_only=True)
class RowMeasures:
    """What was measured of each row, in float64: nats, and squared error a value.

    `relaxed_loss` and `straight_through_loss` share their noise. `code_length` is -log p(z) of the most probable code.
    """

    relaxed_loss: Float64[Tensor, " R"]
    straight_through_loss: Float64[Tensor, " R"]
    distortion: Float64[Tensor, " R"]
    rate: Float64[Tensor, " R"]
    code_length: Float64[Tensor, " R"]
    squared_error: Float64[Tensor, " R"]
    importance_weighted: Mapping[int, Float64[Tensor, " R"]]
    """By the number of samples; none where there is no likelihood."""

    @classmethod
    def joined(cls, parts: Sequence["RowMeasures"]) -> "RowMeasures":
        """Those of the rows of all parts, in order."""
        single = {
            name: torch.cat([getattr(part, name) for part in parts])
            for name in ("relaxed_loss", "straight_through_loss", "distortion", "rate", "code_length", "squared_error")
        }
        counts = parts[0].importance_weighted
        bounds = {count: torch.cat([part.importance_weighted[count] for part in parts]) for count in counts}
        return cls(importance_weighted=bounds, **single)


class MetricList:
    """Collects the metrics of one split."""

    def __init__(self, split: str, num_examples: int, protocol: str) -> None:
        self.metrics: list[Metric] = []
        self._split = split
        self._num_examples = num_examples
        self._protocol = protocol

    def add(self, name: str, value: float | int, unit: str, how: str, standard_error: float | None = None) -> None:
        """Raises EvaluationError when the value is not finite."""
        if not math.isfinite(value):
            raise EvaluationError(f"{name}: expected a finite number, got {value}; the model has diverged")
        self.metrics.append(
            Metric(
                name=name,
                value=value,
                unit=unit,
                split=self._split,
                num_examples=self._num_examples,
                protocol=f"{self._protocol}; {how}",
                standard_error=standard_error,
            )
        )

    def add_mean(self, name: str, rows: Float64[Tensor, " R"], unit: str, how: str) -> None:
        """The mean over rows, with its standard error when there is more than one."""
        error = float(rows.std() / math.sqrt(len(rows))) if len(rows) > 1 else None
        self.add(name, float(rows.mean()), unit, how, error)


def add_bounds(
    metrics: MetricList,
    model: DiscreteVAE,
    rows: RowMeasures,
    exact: ExactBounds | None,
    config: EvaluationConfig,
    *,
    relaxation_temperature: float,
) -> None:
    """Every loss and bound side by side, the loosest promise first; what is no bound has a name that says so."""
    likelihood, sampled = model.likelihood, f"{_samples(config.num_samples)} a row, seed {config.seed}"
    note = _note(likelihood)
    rate = _rate_in_words(model.prior, sampled)
    relaxed = f"{config.num_samples} sample{_s(config.num_samples)} a row, seed {config.seed}"
    bounds: list[tuple[str, Tensor, str]] = [
        (
            "relaxed_loss",
            rows.relaxed_loss,
            f"{model.relaxation.name} codes at relaxation temperature {relaxation_temperature:g}, {relaxed}, "
            f"discrete KL to {_PRIOR_IN_WORDS[model.prior.name]}; a bound on nothing",
        ),
        (
            "straight_through_loss",
            rows.straight_through_loss,
            f"the relaxed codes of relaxed_loss, rounded: {relaxed}{note}",
        ),
        (
            "integrality_gap",
            rows.straight_through_loss - rows.relaxed_loss,
            "straight_through_loss less relaxed_loss, of the same noise: what rounding costs",
        ),
        (bound_name(model), rows.distortion + rows.rate, f"distortion and rate: {sampled}, {rate}{note}"),
    ]
    for count, bound in rows.importance_weighted.items():
        how = f"importance-weighted bound, m = {count} discrete samples a row, seed {config.seed}{note}"
        bounds.append((f"iwae_{count}", bound, how))
    if exact is not None:
        every = "summed over every code"
        bounds += [
            ("exact_negative_elbo", exact.negative_elbo, f"{every}, nothing sampled{note}"),
            ("exact_nll", exact.negative_log_likelihood, f"-log p(x), {every}, nothing sampled{note}"),
            (
                "inference_gap",
                exact.negative_elbo - exact.negative_log_likelihood,
                "exact_negative_elbo less exact_nll: KL(q(z|x) || p(z|x)), what the factorised posterior misses",
            ),
        ]
    for name, bound, how in bounds:
        metrics.add_mean(name, bound, "nats", how)
    if likelihood.report_unit == "bits per dimension":
        num_values = model.encoder.mean.numel()
        for name, bound, how in bounds:
            if not name.endswith("_gap"):
                bits = bound / (num_values * math.log(2))
                metrics.add_mean(f"{name}_bits_per_dimension", bits, "bits per dimension", how)


def add_rates(metrics: MetricList, model: DiscreteVAE, rows: RowMeasures, config: EvaluationConfig) -> None:
    """The terms of -ELBO, and what a code costs to keep."""
    sampled = f"{_samples(config.num_samples)} a row, seed {config.seed}"
    rate, prior = _rate_in_words(model.prior, sampled), _PRIOR_IN_WORDS[model.prior.name]
    metrics.add_mean("distortion", rows.distortion, "nats", f"{sampled}{_note(model.likelihood)}")
    metrics.add_mean("rate", rows.rate, "nats", f"{rate}, summed over latents")
    metrics.add_mean("rate_bits", rows.rate / math.log(2), "bits", f"{rate}, summed over latents")
    metrics.add_mean(
        "rate_bytes",
        rows.rate / (8 * math.log(2)),
        "bytes",
        f"{rate}, summed over latents: what bits-back coding with this prior would spend on a code",
    )
    metrics.add_mean(
        "entropy_coded_bytes",
        rows.code_length / (8 * math.log(2)),
        "bytes",
        f"-log p(z) of the most probable code: what an arithmetic coder with {prior} would spend on it",
    )
    layout: CodeLayout = model.latent.layout
    metrics.add("packed_bytes", layout.num_bytes, "bytes", f"a code as served: {layout.num_bits} bits, packed")
    metrics.add_mean("mean_squared_error", rows.squared_error, "squared value", "E[x|z] at the most probable code")


def add_usage(metrics: MetricList, prior: Prior, latent_kl: Float64[np.ndarray, " N"], usage: CodeUsage) -> None:
    """How much of the code is used, over all rows together."""
    num_latents, num_categories = usage.code_frequencies.shape
    layout = f"{num_latents} latents of {num_categories} values"
    given = "" if prior.is_factorised else ", each given those before it"
    metrics.add(
        "active_latents",
        int((latent_kl > ACTIVE_ABOVE).sum()),
        "count",
        f"of {layout}, those with a mean KL above {ACTIVE_ABOVE:g} nats to {_PRIOR_IN_WORDS[prior.name]}{given}",
    )
    for name, value in (("min", latent_kl.min()), ("median", np.median(latent_kl)), ("max", latent_kl.max())):
        metrics.add(f"latent_kl_{name}", float(value), "nats", f"mean KL of a latent{given}, {name} over latents")
    metrics.add(
        "bits_used_per_code",
        float(entropy_bits(usage.code_frequencies).sum()),
        "bits",
        f"marginal entropies of the most probable codes, summed over latents; at most "
        f"{num_latents * math.log2(num_categories):.6g}",
    )
    metrics.add(
        "aggregate_bits_per_code",
        float(entropy_bits(usage.aggregate_posterior).sum()),
        "bits",
        "marginal entropies of the aggregate posterior, summed over latents",
    )
    metrics.add(
        "joint_bits_per_code",
        usage.joint_entropy_bits,
        "bits",
        "entropy of the most probable codes as wholes; at most log2 of the number of rows",
    )
    metrics.add(
        "joint_code_perplexity",
        2**usage.joint_entropy_bits,
        "codes",
        "exp of the entropy of the most probable codes as wholes; at most the number of rows",
    )
    metrics.add("distinct_codes", len(usage.distinct_counts), "count", "most probable codes that differ")
    metrics.add(
        "code_perplexity",
        float(usage.code_perplexity.mean()),
        "categories",
        f"exp of a latent's marginal entropy, most probable codes, mean over latents; 1 to {num_categories}",
    )
    metrics.add(
        "aggregate_perplexity",
        float(usage.aggregate_perplexity.mean()),
        "categories",
        f"exp of a latent's marginal entropy, aggregate posterior, mean over latents; 1 to {num_categories}",
    )
    metrics.add(
        "dead_categories",
        usage.num_dead_categories,
        "count",
        f"of the values of {layout}, those in no most probable code",
    )
    metrics.add(
        "near_ties",
        usage.share_of_margins_below(NEAR_TIE),
        "share",
        f"symbols whose two best scores (a bit: score and 0) are closer than {NEAR_TIE:g}, at temperature 0",
    )


def _samples(count: int) -> str:
    return f"{count} discrete sample{_s(count)}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _rate_in_words(prior: Prior, sampled: str) -> str:
    how = "in closed form" if prior.is_factorised else f"a Monte Carlo estimate with {sampled}"
    return f"KL to {_PRIOR_IN_WORDS[prior.name]}, {how}"


def _note(likelihood: Likelihood) -> str:
    """What must be known of the law of the inputs before a number made of it is compared."""
    if not likelihood.is_likelihood:
        return "; a cross-entropy on grey values: not a likelihood, and a bound on nothing"
    return "" if likelihood.name == "bernoulli" else f"; likelihood: {likelihood.label}"
