"""One pass over the rows of a split."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from tqdm import tqdm

from training.bounds import distortion, importance_weighted, latent_rates
from training.code_usage import CodeUsageCounter
from training.enumeration import is_enumerable
from training.errors import EvaluationError
from training.estimators import Pathwise, StraightThroughGumbel
from training.evaluation.config import EvaluationConfig
from training.evaluation.numbers import MetricList, RowMeasures, add_bounds, add_rates, add_usage
from training.evaluation.record import Evaluation
from training.exact_bounds import exact_bounds
from training.model import DiscreteVAE
from training.objectives import estimated_bound


@torch.inference_mode()
def evaluate(
    model: DiscreteVAE,
    inputs: Float[Tensor, "R D"],
    *,
    relaxation_temperature: float,
    protocol: str,
    split: str,
    config: EvaluationConfig,
) -> Evaluation:
    """Evaluate `model` on every row of `inputs`, in the order given, on the model's device.

    Every bound is one of the model with *discrete* codes; `relaxed_loss`, at the relaxation temperature given, stands
    beside them to show by how much it differs. Where the likelihood is none, -ELBO is called `cross_entropy_loss`, and
    there are neither importance-weighted bounds nor an exact NLL. `protocol` says what the inputs are (data, split,
    binarisation), and how each number was measured is added to it. Standard errors are those of the mean over rows.

    Raises EvaluationError on inputs that do not fit the model or its likelihood, and when a number is not finite.
    """
    _check(model, inputs, relaxation_temperature)
    inputs = inputs.to(model.encoder.mean)
    counter = CodeUsageCounter(model.latent)
    latent_kl = torch.zeros(model.latent.num_latents, dtype=torch.float64, device=model.device)
    measure = _RowMeasurement(model, relaxation_temperature, config)
    parts: list[RowMeasures] = []
    with tqdm(total=len(inputs), unit="row", desc="evaluating", disable=None, leave=False) as progress:
        for rows in inputs.split(config.chunk_size):
            logits = model.posterior(rows).logits
            counter.add(logits)
            part, kl = measure(rows, logits)
            parts.append(part)
            latent_kl += kl.sum(dim=0)
            progress.update(len(rows))
    is_exact = config.exact and model.likelihood.is_likelihood and is_enumerable(model.latent)
    exact = exact_bounds(model, inputs) if is_exact else None
    usage, joined = counter.usage(), RowMeasures.joined(parts)
    latent_kl_mean = (latent_kl / len(inputs)).cpu().numpy()
    metrics = MetricList(split, len(inputs), protocol)
    add_bounds(metrics, model, joined, exact, config, relaxation_temperature=relaxation_temperature)
    add_rates(metrics, model, joined, config)
    add_usage(metrics, model.prior, latent_kl_mean, usage)
    return Evaluation(tuple(metrics.metrics), latent_kl_mean, usage)


def _check(model: DiscreteVAE, inputs: Tensor, relaxation_temperature: float) -> None:
    num_values = model.encoder.mean.numel()
    if inputs.ndim != 2 or len(inputs) == 0 or inputs.shape[1] != num_values:
        raise EvaluationError(
            f"inputs: expected one or more rows of {num_values} values, got shape {list(inputs.shape)}"
        )
    if not relaxation_temperature > 0:
        raise EvaluationError(f"relaxation_temperature: expected more than 0, got {relaxation_temperature}")
    try:
        model.likelihood.check_inputs(inputs)
    except ValueError as error:
        raise EvaluationError(str(error)) from error


class _RowMeasurement:
    """Measures batch after batch, noise of each quantity drawn from a stream of its own."""

    def __init__(self, model: DiscreteVAE, relaxation_temperature: float, config: EvaluationConfig) -> None:
        self._model = model
        self._config = config
        self._relaxation_temperature = torch.tensor(relaxation_temperature, device=model.device)
        # The first two are equal, so that a relaxed code and its rounding come of the same noise.
        self._relaxed, self._straight_through, self._discrete = (
            torch.Generator(model.device).manual_seed(config.seed) for _ in range(3)
        )

    def __call__(
        self, rows: Float[Tensor, "B D"], logits: Float[Tensor, "B *latent"]
    ) -> tuple[RowMeasures, Float64[Tensor, "B N"]]:
        """The measures of these rows, and their KL a latent."""
        model, config = self._model, self._config
        sampling = {"generator": self._discrete, "chunk_size": config.chunk_size}
        codes = model.latent.most_probable(logits)
        kl = latent_rates(model, logits, num_samples=config.num_samples, **sampling)
        distortions = distortion(model, rows, logits, num_samples=config.num_samples, **sampling)
        bounds: list[Tensor] = []
        counts = config.importance_samples if model.likelihood.is_likelihood else ()
        if counts:
            bounds = importance_weighted(model, rows, logits, num_samples=counts, **sampling)
        measures = RowMeasures(
            relaxed_loss=self._loss(Pathwise(), rows, self._relaxed),
            straight_through_loss=self._loss(StraightThroughGumbel(), rows, self._straight_through),
            distortion=distortions,
            rate=kl.sum(dim=1),
            code_length=-model.prior.log_prob(codes).double(),
            squared_error=(model.reconstruction(codes) - rows).double().square().mean(dim=1),
            importance_weighted=dict(zip(counts, bounds, strict=True)),
        )
        return measures, kl

    def _loss(
        self, estimator: Pathwise | StraightThroughGumbel, rows: Float[Tensor, "B D"], generator: torch.Generator
    ) -> Float64[Tensor, " B"]:
        """What training with this estimator would log as its headline, beta 1 and nothing free: the mean of samples."""
        total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        for _ in range(self._config.num_samples):
            objective = estimated_bound(
                self._model,
                rows,
                estimator=estimator,
                relaxation_temperature=self._relaxation_temperature,
                generator=generator,
            )
            total += next(iter(objective.terms.values()))
        return total / self._config.num_samples
