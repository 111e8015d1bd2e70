"""Is an exported model the model that was trained? PyTorch against ONNX Runtime, on the same inputs and noise.

Both compute in float32 but add in different orders, so numbers are compared within a tolerance (relative where they
are above 1: the logits of a logistic-normal bit are near the square of its parameters), and codes wherever the two best
scores of a latent (for a bit: its score and 0) are further apart than that.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle, product

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt
from torch import Tensor

from models import noise
from training.errors import ExportRefused
from training.exported import Encoded, ExportedModel
from training.latents import LatentConfig
from training.model import DiscreteVAE

TOLERANCE = 1e-4
"""Of numbers up to 1, and of greater ones relative to them."""
_TEMPERATURES = (0.0, 0.5, 1.0, 2.0)
_RELAXATION_TEMPERATURES = (0.1, 0.5, 1.0)
_BATCH_SIZES = (1, 2, 7, 64)


@dataclass(frozen=True)
class Parity:
    """That PyTorch and ONNX Runtime agree, and how closely."""

    num_rows: int
    differences: Mapping[str, float]
    """The greatest difference of each output, relative where the value is above 1; none above the tolerance."""
    num_codes: int
    """Symbols that were compared, over all rows and temperatures; every one was equal."""
    num_ties: int
    """Symbols left out, because their two best scores lie within the tolerance of each other."""

    def __str__(self) -> str:
        differences = ", ".join(f"{output} {difference:.1e}" for output, difference in self.differences.items())
        return (
            f"PyTorch and ONNX Runtime agree on {self.num_rows:,} inputs; greatest differences: {differences} "
            f"(tolerance {TOLERANCE:g}); {self.num_codes:,} symbols equal, {self.num_ties:,} ties left out"
        )


@torch.no_grad()
def check_parity(
    model: DiscreteVAE,
    exported: ExportedModel,
    inputs: Float32[np.ndarray, "R D"],
    *,
    relaxation_temperature: float,
    seed: int = 0,
) -> Parity:
    """Compare every output of the graphs on `inputs`, in batches of several sizes.

    The sampler meets temperatures from 0 to 2, and relaxation temperatures from 0.1 to 1 and `relaxation_temperature`,
    different ones in neighbouring rows. For its numbers it is given PyTorch's parameters, since a small relaxation
    temperature magnifies the encoder's differences; for its codes those of the encoder graph, as the service does.
    Raises ExportRefused with the output, the row and the difference where the tolerance is exceeded.
    """
    model = copy.deepcopy(model).cpu().float().eval()
    latent = model.latent
    comparison = _Comparison(latent)

    posterior = model.posterior(torch.from_numpy(inputs))
    most_probable = posterior.scores(torch.zeros(len(inputs), *latent.shape), 0.0)
    encoded = Encoded(*map(np.concatenate, zip(*map(exported.encode, _batches(inputs)), strict=True)))
    comparison.numbers("logits", encoded.logits, posterior.logits)
    comparison.codes("codes of the encoder graph", encoded.codes, most_probable)

    standard = noise.draw(posterior.noise_name(latent.kind), seed, len(inputs), latent.shape)
    grid = list(product(_TEMPERATURES, (*_RELAXATION_TEMPERATURES, relaxation_temperature)))
    a_row_each = (-1, *(1 for _ in latent.shape))
    # In float64: products of parameters and noise, divided by a small temperature, are left with too few digits else.
    precise = posterior.with_parameters(posterior.parameters.double())
    probabilities = latent.law(precise.logits).probs
    for shift in range(len(grid)):
        pairs = [grid[(row + shift) % len(grid)] for row in range(len(inputs))]
        temperature, tau = np.array(pairs, dtype=np.float32).T.copy()
        rows = [torch.from_numpy(values).double().reshape(a_row_each) for values in (temperature, tau)]
        scores = precise.scores(torch.from_numpy(standard).double(), rows[0])
        relaxed = precise.relaxed(scores, rows[1])
        sampled = exported.sample(posterior.parameters.numpy(), standard, temperature, tau)
        comparison.numbers("relaxed", sampled.relaxed, relaxed)
        comparison.numbers("probabilities", sampled.probabilities, probabilities)
        comparison.numbers("margins", sampled.margins, latent.margins(scores))
        served = exported.sample(encoded.parameters, standard, temperature, tau)
        comparison.codes("codes of the sampler graph", served.codes, scores)

    mode = latent.most_probable(most_probable)
    for codes in (mode, relaxed.float()):
        outputs = np.concatenate([exported.decode(rows) for rows in _batches(codes.numpy())])
        comparison.numbers("outputs", outputs, model.reconstruction(codes))
    if exported.has_prior:
        prior_logits = np.concatenate([exported.prior_logits(rows) for rows in _batches(mode.numpy())])
        comparison.numbers("prior logits", prior_logits, model.prior(mode))
    return Parity(len(inputs), comparison.differences, comparison.num_codes, comparison.num_ties)


class _Comparison:
    """Compares one output after another, and remembers how it went."""

    def __init__(self, latent: LatentConfig) -> None:
        self.latent = latent
        self.differences: dict[str, float] = {}
        self.num_codes = 0
        self.num_ties = 0

    def numbers(self, output: str, got: Float32[np.ndarray, "R ..."], expected: Float[Tensor, "R ..."]) -> None:
        if not np.isfinite(got).all():
            raise ExportRefused(f"{output}: expected finite numbers from ONNX Runtime, got NaN or infinity")
        wanted = expected.numpy()
        difference = np.abs(got - wanted) / np.maximum(1, np.abs(wanted))
        difference = difference.reshape(len(got), -1).max(axis=1)
        row = int(difference.argmax())
        if not difference[row] <= TOLERANCE:
            raise ExportRefused(
                f"{output}: expected ONNX Runtime within {TOLERANCE:g} of PyTorch on the same inputs and noise, "
                f"got a difference of {difference[row]:.3g} in row {row}"
            )
        self.differences[output] = max(self.differences.get(output, 0.0), float(difference[row]))

    def codes(self, output: str, got: UInt[np.ndarray, "R N"], scores: Float[Tensor, "R *latent"]) -> None:
        expected = self.latent.indices(self.latent.most_probable(scores)).numpy()
        margins = self.latent.margins(scores).numpy()
        firm = margins > TOLERANCE
        wrong = firm & (got != expected)
        if wrong.any():
            row, latent = (int(axis) for axis in np.argwhere(wrong)[0])
            raise ExportRefused(
                f"{output}: expected the codes of PyTorch wherever no two scores lie within {TOLERANCE:g} of each "
                f"other, got {int(wrong.sum()):,} others among {int(firm.sum()):,}; the first in row {row}, latent "
                f"{latent}: {expected[row, latent]} expected with a margin of {margins[row, latent]:.3g}, "
                f"got {got[row, latent]}"
            )
        self.num_codes += int(firm.sum())
        self.num_ties += int((~firm).sum())


def _batches(rows: np.ndarray) -> Iterator[np.ndarray]:
    """`rows` in order, cut into batches of 1, 2, 7, 64, 1, 2, ... rows."""
    start = 0
    for size in cycle(_BATCH_SIZES):
        if start >= len(rows):
            return
        yield rows[start : start + size]
        start += size
