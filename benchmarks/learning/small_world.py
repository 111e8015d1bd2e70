"""A world small enough for the truth: 4 variables of 8 categories, every estimator against the exact gradient.

    python benchmarks/learning/small_world.py --results benchmarks/learning/small_world.json

Each estimator trains the same network on the fixed binarised MNIST from several seeds; what is compared is the *exact*
negative log-likelihood of the whole test split, by enumeration of all codes, which no estimator's variance can blur.
Every estimator uses the same learning rate and relaxation temperature schedule, written below; none was tuned.
"""

import argparse
import json
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from run import machine, merge

from training import commands, config, runs
from training.exact_bounds import exact_bounds

COMMON = {
    "data": {"name": "binarized-mnist"},
    "latent": {"kind": "categorical", "num_latents": 4, "num_categories": 8},
    "network": {"kind": "mlp", "hidden": [200]},
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
    "training": {"batch_size": 100, "log_every": 500, "evaluate_every": 1500, "checkpoint_every": 1500},
}
ESTIMATORS = {
    "straight_through": ({"name": "straight_through"}, 1.0),
    "straight_through_gumbel": ({"name": "straight_through_gumbel"}, 0.5),
    "decoupled_straight_through_gumbel": (
        {"name": "decoupled_straight_through_gumbel", "backward_temperature": 1.0},
        0.5,
    ),
    "pathwise": ({"name": "pathwise"}, 0.5),
    "gumbel_rao": ({"name": "gumbel_rao", "num_monte_carlo": 10}, 0.5),
    "gapped_straight_through": ({"name": "gapped_straight_through"}, 1.0),
    "reinmax": ({"name": "reinmax"}, 1.0),
    "reinforce_leave_one_out": ({"name": "reinforce_leave_one_out", "num_samples": 2}, 1.0),
    "exact": ({"name": "exact"}, 1.0),
}
"""Estimators, each with its relaxation temperature, the usual one of its paper; constant."""


def train(estimator: str, seed: int, num_steps: int) -> tuple[str, int, dict[str, float]]:
    """Exact bounds on both held-out splits, in nats an image, after `num_steps` steps."""
    section, temperature = ESTIMATORS[estimator]
    table = COMMON | {
        "name": f"small-world-{estimator.replace('_', '-')}-{seed}",
        "estimator": section,
        "relaxation_temperature": temperature,
        "training": COMMON["training"] | {"seed": seed, "num_steps": num_steps},
    }
    resolved = config.parse(table)
    folder = Path("runs/benchmarks") / resolved.name
    if not (folder / "config.toml").exists():
        runs.create(folder, resolved)
    commands.resume(folder, "cpu")
    run = runs.open_run(folder, device=torch.device("cpu"))
    measured = {"seconds": run.seconds}
    for split in ("valid", "test"):
        bounds = exact_bounds(run.model, torch.from_numpy(run.dataset.evaluation_inputs(split)))
        measured[f"{split}_nll"] = bounds.negative_log_likelihood.mean().item()
        measured[f"{split}_negative_elbo"] = bounds.negative_elbo.mean().item()
    return estimator, seed, measured


def table(results: dict) -> str:
    """Markdown: mean and sample standard deviation over seeds."""
    lines = [
        "| estimator | test NLL, exact | test -ELBO, exact | validation NLL, exact | seconds a run |",
        "| --- " * 5 + "|",
    ]
    rows = []
    for estimator, result in results.items():
        cells = []
        for name in ("test_nll", "test_negative_elbo", "valid_nll"):
            values = [seed[name] for seed in result["seeds"].values()]
            cells.append(
                f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
                if len(values) > 1
                else f"{values[0]:.2f}"
            )
        seconds = statistics.mean(seed["seconds"] for seed in result["seeds"].values())
        rows.append((cells[0], f"| `{estimator}` | " + " | ".join(cells) + f" | {seconds:.0f} |"))
    return "\n".join(lines + [row for _, row in sorted(rows)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--num-steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--estimators", nargs="*", choices=list(ESTIMATORS), default=list(ESTIMATORS))
    options = parser.parse_args()
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = [
            pool.submit(train, estimator, seed, options.num_steps)
            for seed in range(options.seeds)
            for estimator in options.estimators
        ]
        measured: dict[str, dict[str, dict[str, float]]] = {}
        for job in jobs:
            estimator, seed, values = job.result()
            measured.setdefault(estimator, {})[str(seed)] = values
    for estimator, seeds in measured.items():
        merge(
            options.results,
            estimator,
            {
                "num_steps": options.num_steps,
                "relaxation_temperature": ESTIMATORS[estimator][1],
                "machine": machine(),
                "seeds": seeds,
            },
        )
    print(table(json.loads(options.results.read_text())))
