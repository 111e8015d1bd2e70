"""Prints results of `run.py` as a Markdown table, the published numbers beside ours.

python benchmarks/learning/table.py benchmarks/learning/jang/results.json
"""

import json
import sys
from pathlib import Path

PUBLISHED = {
    "jang-st-gumbel-200-bits": 111.5,
    "jang-st-gumbel-20x10": 107.8,
    "jang-st-gumbel-sgd-200-bits": 111.5,
    "jang-st-gumbel-sgd-20x10": 107.8,
    "jang-muprop-200-bits": 109.7,
    "jang-muprop-20x10": 107.0,
    "jang-pathwise-200-bits": 105.0,
    "jang-pathwise-20x10": 101.5,
}
"""IWAE-1000 in nats: Jang, Gu and Poole 2016, arXiv:1611.01144, table 1."""


def row(name: str, result: dict) -> str:
    """One run: test bounds with standard errors, the published bound, and what all its stages together took."""
    test = result["metrics"]["test"]
    stages = [*result.get("earlier_stages", []), result]

    def cell(metric: str) -> str:
        return f"{test[metric]['value']:.2f} ± {test[metric]['standard_error']:.2f}"

    def minutes(key: str) -> str:
        seconds = [stage.get(key) for stage in stages]
        return "" if None in seconds else f"{sum(seconds) / 60:.0f} min"

    published = PUBLISHED.get(name)
    steps = " + ".join(f"{stage['num_steps']:,}" for stage in stages)
    return (
        f"| `{name}` | {cell('iwae_1000')} | {published if published is not None else ''} | {cell('negative_elbo')} "
        f"| {steps} | {minutes('training_cpu_seconds')} | {minutes('training_seconds')} |"
    )


if __name__ == "__main__":
    results = json.loads(Path(sys.argv[1]).read_text())
    print("| run | test IWAE-1000 | published | test -ELBO | steps | one core | wall clock |")
    print("| --- " * 7 + "|")
    for run, outcome in results.items():
        print(row(run, outcome))
