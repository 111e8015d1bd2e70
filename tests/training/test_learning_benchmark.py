"""Recipes of several stages in the benchmark of learning, on the digits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGE = """
name = "{name}"
[latent]
kind = "binary"
num_latents = 4
[network]
kind = "mlp"
hidden = []
[training]
num_steps = {num_steps}
num_threads = 1
"""


@pytest.fixture
def stages(tmp_path):
    """The configurations of two stages."""
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(STAGE.format(name="first", num_steps=3))
    second.write_text(STAGE.format(name="second", num_steps=2) + 'start_from = "runs/benchmarks/first"\n')
    return first, second


def run(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [
        sys.executable,
        ROOT / "benchmarks/learning/run.py",
        "--device",
        "cpu",
        "-m",
        "2",
        "--results",
        "out.json",
    ]
    return subprocess.run([*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_of_a_recipe_with_another_seed_only_the_last_stage_is_evaluated_and_it_starts_from_the_others_of_that_seed(
    stages, tmp_path
):
    finished = run(tmp_path, *stages, "--recipe", "--seed", "5")
    assert finished.returncode == 0, finished.stderr[-2000:]
    results = json.loads((tmp_path / "out.json").read_text())
    assert list(results) == ["second-seed-5"]
    assert results["second-seed-5"]["seed"] == 5
    assert [stage["name"] for stage in results["second-seed-5"]["earlier_stages"]] == ["first-seed-5"]
    assert results["second-seed-5"]["metrics"].keys() == {"valid", "test"}
    evaluated = {path.parent.name for path in (tmp_path / "runs/benchmarks").glob("*/*test*.json")}
    assert evaluated == {"second-seed-5"}


def test_stages_that_do_not_follow_from_each_other_are_no_recipe_and_nothing_is_trained(stages, tmp_path):
    finished = run(tmp_path, *reversed(stages), "--recipe")
    assert finished.returncode == 2
    assert "expected second to start from nothing" in finished.stderr
    assert "got runs/benchmarks/first" in finished.stderr
    assert not (tmp_path / "runs").exists()
