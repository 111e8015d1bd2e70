"""Short runs to choose a longer one from, measured on the validation split and never on the test split.

    python benchmarks/learning/explore.py --results benchmarks/learning/jang/exploration.json

Every candidate trains the linear models of `jang/` for the same number of steps, its learning rate falling to 0 along
half a cosine. A candidate that is in the file already is not trained again.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from run import machine, merge

from training import commands, config
from training.evaluation import EvaluationConfig

LATENTS = {
    "200-bits": {"kind": "binary", "num_latents": 200},
    "20x10": {"kind": "categorical", "num_latents": 20, "num_categories": 10},
}
CANDIDATES = {
    "straight-through-gumbel": ({"name": "straight_through_gumbel"}, 1, 0.5, (1e-3, 3e-3)),
    "straight-through": ({"name": "straight_through"}, 1, 1.0, (3e-3,)),
    "pathwise": ({"name": "pathwise"}, 1, 0.5, (1e-3, 3e-3, 1e-2)),
    "reinmax": ({"name": "reinmax"}, 1, 1.0, (1e-3, 3e-3, 1e-2)),
    "reinmax-4-samples": ({"name": "reinmax"}, 4, 1.0, (3e-3,)),
    "muprop": ({"name": "muprop"}, 1, 1.0, (3e-3, 1e-2)),
    "vimco-8-samples": ({"name": "reinforce_leave_one_out"}, 8, 1.0, (2e-3, 5e-3)),
}
"""Estimator, samples of the bound, relaxation temperature, learning rates."""


def run(
    latent: dict, estimator: dict, num_samples: int, tau: float, rate: float, *, num_steps: int, data: dict
) -> dict:
    """One candidate: validation bounds in nats, and what a step cost."""
    parsed = config.parse(
        {
            "name": "candidate",
            "data": {"name": "binarized-mnist", **data},
            "latent": latent,
            "network": {"kind": "mlp", "hidden": []},
            "objective": {"num_importance_samples": num_samples},
            "estimator": estimator,
            "relaxation_temperature": tau,
            "optimizer": {"learning_rate": {"kind": "cosine", "initial": rate, "final": 0.0, "end_step": num_steps}},
            "training": {
                "num_steps": num_steps,
                "log_every": num_steps,
                "evaluate_every": num_steps,
                "checkpoint_every": num_steps,
            },
        }
    )
    with tempfile.TemporaryDirectory() as root:
        path, folder = Path(root) / "candidate.toml", Path(root) / "run"
        path.write_text(config.to_toml(parsed))
        started = time.process_time()
        _, finished = commands.fit(path, [], folder, "cpu")
        if not finished:
            sys.exit(130)
        cost = time.process_time() - started
        measured = commands.evaluate_run(
            folder, "valid", EvaluationConfig(num_samples=1, importance_samples=(100,)), "cpu"
        )
    metrics = {metric.name: metric for metric in measured.metrics}
    return {
        "num_steps": num_steps,
        "cpu_milliseconds_a_step": round(1_000 * cost / num_steps, 2),
        "machine": machine(),
        "valid": {
            name: {"value": round(metrics[name].value, 3), "protocol": metrics[name].protocol}
            for name in ("iwae_100", "negative_elbo")
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--latents", nargs="+", choices=list(LATENTS), default=list(LATENTS))
    parser.add_argument("--candidates", nargs="+", choices=list(CANDIDATES), default=list(CANDIDATES))
    parser.add_argument("--data-path")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads(options.results.read_text()) if options.results.exists() else {}
    print("| latents | candidate | learning rate | validation IWAE-100 | validation -ELBO | CPU ms a step |")
    print("| --- " * 6 + "|", flush=True)
    for latents in options.latents:
        for candidate in options.candidates:
            estimator, num_samples, tau, rates = CANDIDATES[candidate]
            for rate in rates:
                name = f"{latents} {candidate} {rate:g}"
                result = known.get(name)
                if result is None or result["num_steps"] != options.steps:
                    data = {} if options.data_path is None else {"path": options.data_path}
                    result = run(
                        LATENTS[latents], estimator, num_samples, tau, rate, num_steps=options.steps, data=data
                    )
                    merge(options.results, name, result)
                valid = result["valid"]
                print(
                    f"| {latents} | {candidate} | {rate:g} | {valid['iwae_100']['value']:.2f} "
                    f"| {valid['negative_elbo']['value']:.2f} | {result['cpu_milliseconds_a_step']} |",
                    flush=True,
                )
