import dataclasses
import re
from pathlib import Path

import pytest

from training import config
from training.config import RunConfig, TrainingConfig
from training.data import DataConfig
from training.estimators import ESTIMATORS
from training.latents import LatentConfig
from training.likelihoods import LIKELIHOODS, LikelihoodConfig
from training.networks import ConvConfig, MlpConfig
from training.objectives import ObjectiveConfig
from training.priors import PRIORS
from training.relaxations import RELAXATIONS
from training.schedules import SCHEDULES

DOCUMENT = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([^`\n]+)`", DOCUMENT))


@pytest.mark.parametrize(
    "section",
    [DataConfig, LatentConfig, LikelihoodConfig, MlpConfig, ConvConfig, ObjectiveConfig, TrainingConfig],
    ids=lambda section: section.__name__,
)
def test_every_key_of_a_section_is_in_the_document(section):
    missing = {field.name for field in dataclasses.fields(section)} - NAMED
    assert not missing


def test_every_section_is_in_the_document():
    sections = {field.name for field in dataclasses.fields(RunConfig)} - {"name", "description"}
    assert sections == set(re.findall(r"`\[([a-z_]+)\]`", DOCUMENT))


@pytest.mark.parametrize(
    "table",
    [ESTIMATORS, LIKELIHOODS, PRIORS, RELAXATIONS, SCHEDULES],
    ids=["estimators", "likelihoods", "priors", "relaxations", "schedules"],
)
def test_every_name_a_key_can_take_is_in_the_document(table):
    assert not set(table) - NAMED


def test_the_defaults_in_the_tables_are_those_of_the_code():
    section, defaults = None, config.to_dict(RunConfig())
    checked = 0
    for line in DOCUMENT.splitlines():
        if line.startswith("### "):
            section = re.findall(r"`\[([a-z_]+)\]`", line)
        row = re.match(r"\| `(\w+)` \| (\S+) \|", line)
        if section and row and row[1] in defaults.get(section[0], {}) and row[2].strip("`").replace(".", "").isdigit():
            default = defaults[section[0]][row[1]]
            assert float(row[2].strip("`")) == (default["value"] if isinstance(default, dict) else default), line
            checked += 1
    assert checked >= 10
