"""Short runs to choose a longer one from, measured on the validation split and never on the test split.

    python benchmarks/learning/explore.py --results benchmarks/learning/jang/exploration.json

Every candidate trains the linear models of `jang/` for the same number of steps, its learning rate falling to 0 along
half a cosine; those of Jang, Gu and Poole's own protocol keep theirs. A candidate that is in the file already is not
trained again.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from run import machine, merge

from training import commands, config
from training.evaluation import EvaluationConfig

LATENTS = {
    "200-bits": {"kind": "binary", "num_latents": 200},
    "20x10": {"kind": "categorical", "num_latents": 20, "num_categories": 10},
}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What is varied: one run for each learning rate."""

    estimator: str
    rates: tuple[float, ...]
    num_samples: int = 1
    temperature: Any = 1.0
    optimizer: str = "adam"
    is_rate_constant: bool = False


def jang_protocol(rate: float) -> Candidate:
    """The paper's optimiser and annealing, at the three largest of its six learning rates."""
    return Candidate(
        estimator="straight_through_gumbel",
        rates=(3e-4, 1e-3, 3e-3),
        temperature={"kind": "exponential", "initial": 1.0, "minimum": 0.5, "rate": rate, "update_every": 500},
        optimizer="sgd",
        is_rate_constant=True,
    )


CANDIDATES = {
    "straight-through-gumbel": Candidate(estimator="straight_through_gumbel", temperature=0.5, rates=(1e-3, 3e-3)),
    "straight-through": Candidate(estimator="straight_through", rates=(3e-3,)),
    "pathwise": Candidate(estimator="pathwise", temperature=0.5, rates=(1e-3, 3e-3, 1e-2)),
    "reinmax": Candidate(estimator="reinmax", rates=(1e-3, 3e-3, 1e-2)),
    "reinmax-4-samples": Candidate(estimator="reinmax", num_samples=4, rates=(3e-3,)),
    "muprop": Candidate(estimator="muprop", rates=(3e-3, 1e-2)),
    "vimco-8-samples": Candidate(estimator="reinforce_leave_one_out", num_samples=8, rates=(2e-3, 5e-3)),
    "straight-through-gumbel-sgd-r-1e-4": jang_protocol(1e-4),
    "straight-through-gumbel-sgd-r-1e-5": jang_protocol(1e-5),
}


def run(latent: dict, candidate: Candidate, rate: float, *, num_steps: int, data: dict) -> dict:
    """One candidate: validation bounds in nats, and what a step cost."""
    decay = {"kind": "cosine", "initial": rate, "final": 0.0, "end_step": num_steps}
    parsed = config.parse(
        {
            "name": "candidate",
            "data": {"name": "binarized-mnist", **data},
            "latent": latent,
            "network": {"kind": "mlp", "hidden": []},
            "objective": {"num_importance_samples": candidate.num_samples},
            "estimator": {"name": candidate.estimator},
            "relaxation_temperature": candidate.temperature,
            "optimizer": {
                "name": candidate.optimizer,
                "learning_rate": rate if candidate.is_rate_constant else decay,
            },
            "training": {
                "num_steps": num_steps,
                "num_threads": 1,
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
            for rate in CANDIDATES[candidate].rates:
                name = f"{latents} {candidate} {rate:g}"
                result = known.get(name)
                if result is None or result["num_steps"] != options.steps:
                    data = {} if options.data_path is None else {"path": options.data_path}
                    result = run(LATENTS[latents], CANDIDATES[candidate], rate, num_steps=options.steps, data=data)
                    merge(options.results, name, result)
                valid = result["valid"]
                print(
                    f"| {latents} | {candidate} | {rate:g} | {valid['iwae_100']['value']:.2f} "
                    f"| {valid['negative_elbo']['value']:.2f} | {result['cpu_milliseconds_a_step']} |",
                    flush=True,
                )
