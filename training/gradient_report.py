"""The gradient report: every estimator that fits a model against the exact gradient, at several checkpoints of a run.

What is compared is the gradient of the mean over the rows of a batch, with respect to the encoder's outputs (for most
relaxations the logits of the code) and with respect to all weights of the encoder. Two gradients are looked at:

    distortion       of E_q[-log p(x|z)], the term that an estimator is asked for; under an autoregressive prior
                     `distortion_and_prior`, of E_q[-log p(x|z) - log p(z)]
    negative_elbo    of the whole of -ELBO: the rest is in closed form and is the same for every estimator, so that
                     absolute errors are those of the first, relative to another norm and at another angle

The reference sums over every code, so the latents must have at most 65,536. Shapes as in `training.latents`; S draws,
L values of the encoder's outputs over all rows of the batch.
"""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from tqdm import tqdm

from training.costs import distortion_cost
from training.enumeration import check_enumerable, expectation
from training.errors import ConfigError, EvaluationError
from training.estimators import Estimator, Exact, fitting_estimators
from training.gradient_errors import GradientErrors, Interval, check_num_draws, gradient_errors
from training.latents import LatentConfig
from training.model import DiscreteVAE
from training.posteriors import Posterior

MAX_OUTPUTS = 8_192
"""Outputs of the encoder over the batch, L: their products are kept, L x L."""
_ROWS_AT_ONCE = 2_048
STATISTICS = ("squared_bias", "variance", "mean_squared_error", "cosine")
"""What is measured of each contender, by the names of `GradientErrors`."""


class Contender(NamedTuple):
    """An estimator at a relaxation temperature, under the name that tables and plots give it."""

    label: str
    estimator: Estimator
    relaxation_temperature: float


def default_contenders(latent: LatentConfig, temperatures: Sequence[float] = (0.5, 1.0)) -> list[Contender]:
    """Every estimator that fits, with its default options; at each temperature that it accepts, if it uses any.

    The exact one is what they are held against, and not among them.
    """
    contenders = []
    for estimator in fitting_estimators(latent):
        if isinstance(estimator, Exact):
            continue
        options = [f"{name} {value:g}" for name, value in _options(estimator).items()]
        name = ", ".join([estimator.name, *options])
        if not estimator.uses_relaxation_temperature:
            contenders.append(Contender(name, estimator, 1.0))
            continue
        accepted = [tau for tau in temperatures if tau >= estimator.minimum_temperature]
        contenders += [Contender(f"{name}, tau {tau:g}", estimator, tau) for tau in accepted]
    return contenders


@dataclass(frozen=True, kw_only=True)
class GradientRow:
    """Errors of one contender at one checkpoint, for one gradient (`term`) with respect to one thing (`target`)."""

    step: int
    label: str
    estimator: str
    options: dict[str, float | int]
    relaxation_temperature: float | None
    num_evaluations: int
    target: str
    term: str
    errors: GradientErrors


@dataclass(frozen=True, kw_only=True)
class GradientReport:
    """The rows, how they were measured, and by checkpoint the mean entropy of q(z|x) in nats a latent."""

    rows: tuple[GradientRow, ...]
    entropies: dict[int, float]
    protocol: str

    def table(self) -> str:
        """Markdown: for each checkpoint, target and term a table with a line a contender."""
        parts = [f"{self.protocol}. Errors are relative to the squared norm of the exact gradient; 95 % intervals."]
        groups: dict[tuple[int, str, str], list[GradientRow]] = {}
        for row in self.rows:
            groups.setdefault((row.step, row.target, row.term), []).append(row)
        for (step, target, term), rows in groups.items():
            parts.append(
                f"### Step {step:,}: {term} by {target}\n\n"
                f"Entropy of q(z|x) {self.entropies[step]:.3f} nats a latent; "
                f"norm of the exact gradient {rows[0].errors.exact_norm:.4g}."
            )
            lines = [
                "| estimator | evaluations | squared bias | variance | mean squared error | cosine |",
                "| --- | ---: | ---: | ---: | ---: | ---: |",
            ]
            lines += [
                f"| {row.label} | {row.num_evaluations:,} | "
                + " | ".join(_cell(getattr(row.errors, name)) for name in STATISTICS)
                + " |"
                for row in rows
            ]
            parts.append("\n".join(lines))
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> str:
        """Everything, as JSON; what is not a number is null."""
        rows = [_flat(row) | {"options": row.options} for row in self.rows]
        entropies = {str(step): value for step, value in self.entropies.items()}
        return json.dumps({"protocol": self.protocol, "entropies": entropies, "rows": rows}, indent=2) + "\n"

    def to_csv(self) -> str:
        """One line a row under a line of names; what is not a number is left empty."""
        text = io.StringIO()
        rows = [_flat(row) for row in self.rows]
        writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["step"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def gradient_report(
    models: Iterable[tuple[int, DiscreteVAE]],
    inputs: Float[Tensor, "B D"],
    contenders: Sequence[Contender] | None = None,
    *,
    num_draws: int = 2_000,
    seed: int = 0,
    protocol: str = "",
) -> GradientReport:
    """Measure contenders (None: `default_contenders`) on models by step, all on the same rows.

    Every contender starts from the same seed, so that those of one code meet the same codes. Intervals are over draws:
    the rows are taken as they are. `protocol` says what the rows are; how they were used is added. Raises ConfigError
    when a contender does not fit or there are too many codes, and EvaluationError on rows that do not fit and on
    gradients that are not finite.
    """
    check_num_draws(num_draws)
    rows: list[GradientRow] = []
    entropies: dict[int, float] = {}
    for step, model in models:
        latent = model.latent
        check_enumerable(latent)
        chosen = default_contenders(latent) if contenders is None else list(contenders)
        for contender in chosen:
            contender.estimator.check_latent(latent)
            contender.estimator.check_temperature(contender.relaxation_temperature)
        if len({contender.label for contender in chosen}) < len(chosen):
            raise ConfigError(f"contenders: expected labels that differ, got {[each.label for each in chosen]}")
        subject = _Subject(model, inputs)
        entropies[step] = subject.entropy()
        metrics = {"latent_logits": None, "encoder_weights": subject.weight_metric()}
        for contender in tqdm(chosen, desc=f"step {step}", unit="estimator", disable=None, leave=False):
            draws = subject.draws(contender, num_draws, seed)
            if not torch.isfinite(draws).all():
                raise EvaluationError(f"step {step}: gradients of {contender.label} are not finite")
            for target, metric in metrics.items():
                for term, rest in ((subject.term, 0.0), ("negative_elbo", subject.closed_form_gradient)):
                    errors = gradient_errors(draws + rest, subject.exact_gradient + rest, metric)
                    rows.append(_row(step, contender, latent, target, term, errors))
    described = (
        f"{protocol + ', ' if protocol else ''}{len(inputs)} rows, {num_draws} draws of each estimator, seed {seed}"
    )
    return GradientReport(rows=tuple(rows), entropies=entropies, protocol=described)


class _Subject:
    """A model at some rows: gradients of the mean over them with respect to the encoder's outputs, flat, in float64."""

    def __init__(self, model: DiscreteVAE, inputs: Float[Tensor, "B D"]) -> None:
        num_values = model.encoder.mean.numel()
        if inputs.ndim != 2 or len(inputs) == 0 or inputs.shape[1] != num_values:
            raise EvaluationError(
                f"inputs: expected one or more rows of {num_values} values, got shape {list(inputs.shape)}"
            )
        self._model = model
        self._inputs = inputs.to(model.encoder.mean)
        with torch.no_grad():
            self._outputs = model.encoder(self._inputs)
        if self._outputs.numel() > MAX_OUTPUTS:
            raise EvaluationError(
                f"inputs: expected at most {MAX_OUTPUTS // self._outputs[0].numel()} rows for an encoder of "
                f"{self._outputs[0].numel()} outputs, got {len(inputs)}"
            )
        self.term = "distortion" if model.prior.is_factorised else "distortion_and_prior"
        self.exact_gradient = self._gradient(
            lambda posterior: expectation(self._cost(self._inputs), posterior.logits, model.latent)
        )
        self.closed_form_gradient = self._gradient(self._closed_form)

    def entropy(self) -> float:
        """Mean entropy of q(z|x), nats a latent."""
        return float(self._model.latent.entropy(self._posterior(self._outputs).logits).mean())

    def draws(self, contender: Contender, num_draws: int, seed: int) -> Float64[Tensor, "S L"]:
        """Independent draws of a contender's gradient."""
        num_rows = len(self._inputs)
        device = self._inputs.device
        generator = torch.Generator(device).manual_seed(seed)
        tau = torch.tensor(contender.relaxation_temperature, dtype=self._outputs.dtype, device=device)
        blocks = []
        draws_at_once = max(1, _ROWS_AT_ONCE // num_rows)
        for start in range(0, num_draws, draws_at_once):
            size = min(draws_at_once, num_draws - start)
            # Rows are independent: a batch that repeats them holds independent draws.
            outputs = self._outputs.repeat(size, *(1 for _ in self._outputs.shape[1:])).requires_grad_()
            estimate = contender.estimator(
                self._posterior(outputs),
                self._cost(self._inputs.repeat(size, 1)),
                relaxation_temperature=tau,
                generator=generator,
            )
            (gradient,) = torch.autograd.grad(estimate.surrogate.sum() / num_rows, outputs)
            blocks.append(gradient.reshape(size, -1).double())
        return torch.cat(blocks)

    def weight_metric(self) -> Float64[Tensor, "L L"]:
        """`J J'` for J the Jacobian of the encoder's outputs by its weights, a column at a time.

        `J' u` is a backward pass; it is linear in u, and a second one through it by u is a product with J.
        """
        weights = list(self._model.encoder.parameters())
        outputs = self._model.encoder(self._inputs).flatten()
        cotangent = torch.zeros_like(outputs, requires_grad=True)
        pulled = torch.autograd.grad(outputs, weights, cotangent, create_graph=True)
        metric = torch.empty(len(outputs), len(outputs), dtype=torch.float64, device=outputs.device)
        for column in range(len(outputs)):
            unit = torch.zeros_like(outputs)
            unit[column] = 1
            row = torch.autograd.grad(outputs, weights, unit, retain_graph=True)
            metric[:, column] = torch.autograd.grad(pulled, cotangent, row, retain_graph=True)[0].double()
        return (metric + metric.T) / 2

    def _posterior(self, outputs: Float[Tensor, "B *parameters"]) -> Posterior:
        return self._model.relaxation(outputs, self._model.latent)

    def _cost(self, inputs: Float[Tensor, "B D"]) -> Callable[[Tensor], Tensor]:
        """What the estimator is asked for."""
        distortion = distortion_cost(self._model, inputs)
        if self._model.prior.is_factorised:
            return distortion
        return lambda codes: distortion(codes) - self._model.prior.log_prob(codes)

    def _closed_form(self, posterior: Posterior) -> Float[Tensor, " B"]:
        """The rest of -ELBO."""
        if self._model.prior.is_factorised:
            return self._model.kl(posterior.logits).sum(dim=-1)
        return -self._model.latent.entropy(posterior.logits).sum(dim=-1)

    def _gradient(self, value: Callable[[Posterior], Float[Tensor, " B"]]) -> Float64[Tensor, " L"]:
        outputs = self._outputs.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(value(self._posterior(outputs)).mean(), outputs)
        return gradient.flatten().double()


def _row(
    step: int, contender: Contender, latent: LatentConfig, target: str, term: str, errors: GradientErrors
) -> GradientRow:
    estimator = contender.estimator
    return GradientRow(
        step=step,
        label=contender.label,
        estimator=estimator.name,
        options=_options(estimator),
        relaxation_temperature=contender.relaxation_temperature if estimator.uses_relaxation_temperature else None,
        num_evaluations=estimator.num_evaluations(latent),
        target=target,
        term=term,
        errors=errors,
    )


def _options(estimator: Estimator) -> dict[str, float | int]:
    """The options of an estimator by name."""
    return {name: value for name, value in dataclasses.asdict(estimator).items() if name != "name"}


def _cell(interval: Interval) -> str:
    """The value, and half the width of its interval."""
    if not math.isfinite(interval.value):
        return "-"
    return f"{interval.value:.3f} ± {(interval.high - interval.low) / 2:.3f}"


def _flat(row: GradientRow) -> dict[str, str | float | int | None]:
    """A row as plain names and values, `squared_bias`, `squared_bias_low` and so on."""
    plain: dict[str, str | float | int | None] = {
        name: getattr(row, name)
        for name in ("step", "label", "estimator", "relaxation_temperature", "num_evaluations", "target", "term")
    }
    plain["exact_norm"] = row.errors.exact_norm
    for name in STATISTICS:
        interval: Interval = getattr(row.errors, name)
        for suffix, value in zip(("", "_low", "_high"), interval, strict=True):
            plain[name + suffix] = value if math.isfinite(value) else None
    return plain
