"""What a run's decoder is worth beside what its encoder makes of it: q(z|x) fitted to each row by itself.

    python benchmarks/learning/inference_gap.py runs/benchmarks/NAME --results FILE

Any q bounds log p(x), so the bound with the fitted ones is a bound of the same model; but it is not the one that papers
report, which goes through the encoder, and it is never printed beside theirs. It tells which half of a model is to be
worked on. The validation split alone. Shapes: R rows, D input values.
"""

import argparse
import json
from pathlib import Path

import torch
from run import machine, merge
from torch import Tensor

from training import runs
from training.bounds import importance_weighted
from training.estimators import ReinforceLeaveOneOut
from training.model import DiscreteVAE
from training.objectives import importance_weighted_bound

NUM_SAMPLES = (1, 100, 1000)


class RowsOfLogits(torch.nn.Module):
    """An "encoder" that knows the posterior's logits [R, *latent] of R rows by heart."""

    def __init__(self, logits: Tensor, mean: Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(logits.detach().clone())
        self.register_buffer("mean", mean)

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) != len(self.logits):
            raise ValueError(f"expected the {len(self.logits)} rows that were fitted, got {len(inputs)}")
        return self.logits


@torch.no_grad()
def bounds(model: DiscreteVAE, inputs: Tensor) -> dict[str, float]:
    """The mean importance-weighted bound of these rows for each of NUM_SAMPLES, nats."""
    values = importance_weighted(
        model,
        inputs,
        model.posterior(inputs).logits,
        num_samples=NUM_SAMPLES,
        generator=torch.Generator().manual_seed(0),
        chunk_size=1_000,
    )
    return {f"iwae_{count}": round(value.mean().item(), 3) for count, value in zip(NUM_SAMPLES, values, strict=True)}


def fit(model: DiscreteVAE, inputs: Tensor, *, num_steps: int, num_samples: int = 50) -> None:
    """Put in the encoder's place the logits of these rows, moved along the inclusive KL with the decoder as it is."""
    model.requires_grad_(False)
    model.encoder = RowsOfLogits(model.posterior(inputs).logits, model.encoder.mean)
    optimizer = torch.optim.Adam(model.encoder.parameters(), lr=0.08)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, num_steps)
    generator = torch.Generator().manual_seed(1)
    for _ in range(num_steps):
        optimizer.zero_grad()
        objective = importance_weighted_bound(
            model,
            inputs,
            num_samples=num_samples,
            estimator=ReinforceLeaveOneOut(),
            encoder="inclusive_kl",
            relaxation_temperature=torch.ones(()),
            generator=generator,
        )
        # The mean over rows would make a row's step smaller, were Adam's not free of scale.
        objective.loss.backward()
        optimizer.step()
        decay.step()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = runs.open_run(options.run, device=torch.device("cpu"))
    inputs = torch.from_numpy(run.dataset.evaluation_inputs("valid"))
    inputs = inputs[torch.randperm(len(inputs), generator=torch.Generator().manual_seed(1))[: options.rows]]
    result = {
        "num_rows": len(inputs),
        "num_steps": options.steps,
        "machine": machine(),
        "encoder": bounds(run.model, inputs),
    }
    fit(run.model, inputs, num_steps=options.steps)
    result["fitted"] = bounds(run.model, inputs)
    merge(options.results, run.config.name, result)
    print(json.dumps(result, indent=1))
