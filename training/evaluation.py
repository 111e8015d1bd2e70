"""Measures a trained model: bounds from discrete samples, rates, code usage, each number with its protocol."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from tqdm import tqdm

from models.manifest import Metric
from training.bounds import distortion, importance_weighted
from training.code_usage import CodeUsage, CodeUsageCounter, entropy_bits
from training.errors import EvaluationError
from training.model import DiscreteVAE

ACTIVE_ABOVE = 0.01
"""A latent is active when its KL, averaged over the rows, is above this many nats."""
NEAR_TIE = 1e-3
"""A symbol is nearly tied when its two best scores are closer than this."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """`num_samples` codes a row for -ELBO, `importance_samples` for each importance-weighted bound.

    `chunk_size` codes are decoded at a time: memory grows with it, and with nothing else. The same seed and chunk
    size on the same device give the same numbers.
    """

    num_samples: int = 20
    importance_samples: tuple[int, ...] = (50, 1000)
    seed: int = 0
    chunk_size: int = 512

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise EvaluationError(f"num_samples: expected at least 1, got {self.num_samples}")
        if any(count < 1 for count in self.importance_samples):
            raise EvaluationError(f"importance_samples: expected at least 1 each, got {list(self.importance_samples)}")
        if len(set(self.importance_samples)) < len(self.importance_samples):
            raise EvaluationError(f"importance_samples: expected each once, got {list(self.importance_samples)}")
        if self.seed < 0:
            raise EvaluationError(f"seed: expected 0 or more, got {self.seed}")
        if self.chunk_size < 1:
            raise EvaluationError(f"chunk_size: expected at least 1, got {self.chunk_size}")


@dataclass(frozen=True)
class Evaluation:
    """Metrics, and what does not fit into one number: per-latent KL in nats, averaged over rows, and code usage."""

    metrics: tuple[Metric, ...]
    latent_kl: Float64[np.ndarray, " N"]
    usage: CodeUsage

    def __getitem__(self, name: str) -> Metric:
        """The metric of that name. Raises KeyError with the names there are."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(f"{name!r} is none of {', '.join(metric.name for metric in self.metrics)}")

    def table(self) -> str:
        """Plain text, a line a metric: name, value with its standard error, unit, protocol."""
        lines = [("metric", "value", "std. error", "unit", "protocol")]
        for metric in self.metrics:
            error = "" if metric.standard_error is None else f"{metric.standard_error:,.4f}"
            value = f"{metric.value:,.0f}" if metric.unit == "count" else f"{metric.value:,.4f}"
            lines.append((metric.name, value, error, metric.unit, metric.protocol))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            f"{name:<{widths[0]}}  {value:>{widths[1]}}  {error:>{widths[2]}}  {unit:<{widths[3]}}  {protocol}"
            for name, value, error, unit, protocol in lines
        )


@dataclass(frozen=True)
class _Rows:
    """What was measured of each row, in float64: nats, and squared error a value."""

    distortion: Float64[Tensor, " R"]
    rate: Float64[Tensor, " R"]
    squared_error: Float64[Tensor, " R"]
    importance_weighted: Sequence[Float64[Tensor, " R"]]


@torch.inference_mode()
def evaluate(
    model: DiscreteVAE, inputs: Float[Tensor, "R D"], *, protocol: str, split: str, config: EvaluationConfig
) -> Evaluation:
    """Evaluate `model` on every row of `inputs`, in the order given, on the model's device.

    Every bound is one of the model with *discrete* codes; nothing here is relaxed. `protocol` says what the inputs
    are (data, split, binarisation), and how each number was measured is added to it. Standard errors are those of the
    mean over rows. Raises EvaluationError on inputs that do not fit, and when a number is not finite.
    """
    if inputs.ndim != 2 or len(inputs) == 0 or inputs.shape[1] != model.encoder.mean.numel():
        raise EvaluationError(
            f"inputs: expected one or more rows of {model.encoder.mean.numel()} values, got shape {list(inputs.shape)}"
        )
    if not ((inputs >= 0) & (inputs <= 1)).all():  # false for NaN
        raise EvaluationError("inputs: expected values within [0, 1], as the Bernoulli likelihood needs, got others")
    counter = CodeUsageCounter(model.latent)
    latent_kl = torch.zeros(model.latent.num_latents, dtype=torch.float64, device=model.device)
    generator = torch.Generator(model.device).manual_seed(config.seed)
    measured: list[_Rows] = []
    with tqdm(total=len(inputs), unit="row", desc="evaluating", disable=None, leave=False) as progress:
        for batch in inputs.split(config.chunk_size):
            rows = batch.to(model.encoder.mean)
            logits = model.posterior(rows).logits
            kl = model.kl(logits).double()
            latent_kl += kl.sum(dim=0)
            counter.add(logits)
            measured.append(_measure(model, rows, logits, kl, config, generator))
            progress.update(len(rows))
    usage = counter.usage()
    latent_kl_mean = (latent_kl / len(inputs)).cpu().numpy()
    metrics = _Metrics(split, len(inputs), protocol)
    is_binary = bool(((inputs == 0) | (inputs == 1)).all())
    _add_bounds(metrics, measured, config, is_binary=is_binary)
    _add_usage(metrics, latent_kl_mean, usage)
    return Evaluation(tuple(metrics.metrics), latent_kl_mean, usage)


def _measure(
    model: DiscreteVAE,
    rows: Float[Tensor, "B D"],
    logits: Float[Tensor, "B *latent"],
    kl: Float64[Tensor, "B N"],
    config: EvaluationConfig,
    generator: torch.Generator,
) -> _Rows:
    sampling = {"generator": generator, "chunk_size": config.chunk_size}
    reconstruction = model.reconstruction(model.latent.most_probable(logits))
    return _Rows(
        distortion=distortion(model, rows, logits, num_samples=config.num_samples, **sampling),
        rate=kl.sum(dim=1),
        squared_error=(reconstruction - rows).double().square().mean(dim=1),
        importance_weighted=importance_weighted(model, rows, logits, num_samples=config.importance_samples, **sampling)
        if config.importance_samples
        else (),
    )


class _Metrics:
    """Collects metrics of one split."""

    def __init__(self, split: str, num_examples: int, protocol: str) -> None:
        self.metrics: list[Metric] = []
        self._split = split
        self._num_examples = num_examples
        self._protocol = protocol

    def add(self, name: str, value: float | int, unit: str, how: str, standard_error: float | None = None) -> None:
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


def _add_bounds(metrics: _Metrics, measured: Sequence[_Rows], config: EvaluationConfig, *, is_binary: bool) -> None:
    distortions = torch.cat([rows.distortion for rows in measured])
    rates = torch.cat([rows.rate for rows in measured])
    sampled = f"{config.num_samples} discrete sample{'s' if config.num_samples > 1 else ''} a row, seed {config.seed}"
    grey = "" if is_binary else "; inputs between 0 and 1: a cross-entropy, not a likelihood, and a bound on nothing"
    closed = "KL to the uniform prior in closed form"
    metrics.add_mean("negative_elbo", distortions + rates, "nats", f"{sampled}, {closed}{grey}")
    metrics.add_mean("distortion", distortions, "nats", f"{sampled}{grey}")
    metrics.add_mean("rate", rates, "nats", f"{closed}, summed over latents")
    metrics.add_mean("rate_bits", rates / math.log(2), "bits", f"{closed}, summed over latents")
    bounds = zip(*(rows.importance_weighted for rows in measured), strict=True)
    for count, bound in zip(config.importance_samples, bounds, strict=True):
        how = f"importance-weighted bound, m = {count} discrete samples a row, seed {config.seed}{grey}"
        metrics.add_mean(f"iwae_{count}", torch.cat(bound), "nats", how)
    errors = torch.cat([rows.squared_error for rows in measured])
    metrics.add_mean("mean_squared_error", errors, "squared value", "E[x|z] at the most probable code, a value")


def _add_usage(metrics: _Metrics, latent_kl: Float64[np.ndarray, " N"], usage: CodeUsage) -> None:
    num_latents, num_categories = usage.code_frequencies.shape
    layout = f"{num_latents} latents of {num_categories} values"
    metrics.add(
        "active_latents",
        int((latent_kl > ACTIVE_ABOVE).sum()),
        "count",
        f"of {layout}, those with a mean KL above {ACTIVE_ABOVE:g} nats",
    )
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
