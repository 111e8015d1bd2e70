import dataclasses
from typing import Annotated

import pytest
from estimator_cases import LATENTS, by_kind
from pydantic import Field, TypeAdapter, ValidationError

from training.errors import ConfigError
from training.estimators import (
    ESTIMATORS,
    Arm,
    DecoupledStraightThroughGumbel,
    DisArm,
    EstimatorConfig,
    Exact,
    GappedStraightThrough,
    GumbelRao,
    ReinforceLeaveOneOut,
    ReinMax,
    StraightThrough,
    StraightThroughGumbel,
    fitting_estimators,
)
from training.latents import LatentConfig

SECTION = TypeAdapter(Annotated[EstimatorConfig, Field(discriminator="name")])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_can_be_written_in_a_configuration_and_read_again(name):
    estimator = ESTIMATORS[name]()
    assert estimator.name == name
    table = dataclasses.asdict(estimator)
    assert SECTION.validate_python(table) == estimator
    assert SECTION.validate_python({"name": name}) == estimator


def test_options_are_read_from_a_configuration():
    assert SECTION.validate_python({"name": "gumbel_rao", "num_monte_carlo": 3}) == GumbelRao(num_monte_carlo=3)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"name": "gumbel_rao", "num_monte_carlo": 0}, "num_monte_carlo: expected at least 1, got 0"),
        (
            {"name": "reinforce_leave_one_out", "num_samples": 1},
            "num_samples: expected at least 2, got 1; the baseline",
        ),
        ({"name": "muprop", "num_samples": 0}, "num_samples: expected at least 1, got 0"),
        ({"name": "arm", "num_pairs": 0}, "num_pairs: expected at least 1, got 0"),
        ({"name": "disarm", "num_pairs": -1}, "num_pairs: expected at least 1, got -1"),
        ({"name": "gapped_straight_through", "gap": 0.0}, "gap: expected a finite number above 0, got 0.0"),
        ({"name": "gapped_straight_through", "gap": float("inf")}, "gap: expected a finite number above 0, got inf"),
        (
            {"name": "straight_through", "backward_temperature": -1.0},
            "backward_temperature: expected a finite number above 0, got -1.0",
        ),
        (
            {"name": "decoupled_straight_through_gumbel", "backward_temperature": float("nan")},
            "backward_temperature: expected a finite number above 0, got nan",
        ),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else None,
)
def test_an_option_that_makes_no_sense_is_refused_with_its_name(table, sentence):
    with pytest.raises(ValidationError) as refused:
        SECTION.validate_python(table)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("estimator", [Arm(), DisArm()], ids=lambda estimator: estimator.name)
def test_methods_for_bits_are_refused_for_categories_and_the_sentence_says_what_would_work(estimator):
    latent = LATENTS[1]
    with pytest.raises(ConfigError, match=rf"{estimator.name}.*binary latents.*reinforce_leave_one_out"):
        estimator.check_latent(latent)
    ReinforceLeaveOneOut().check_latent(latent)
    assert ReinforceLeaveOneOut().is_unbiased


@pytest.mark.parametrize(
    ("latent", "most"),
    [
        (LatentConfig(num_latents=17), 16),
        (LatentConfig(kind="categorical", num_latents=20, num_categories=10), 4),
        (LatentConfig(kind="categorical", num_latents=3, num_categories=256), 2),
    ],
    ids=["17 bits", "20 of 10", "3 of 256"],
)
def test_enumeration_of_too_many_codes_is_refused_and_the_sentence_says_how_many_would_do(latent, most):
    with pytest.raises(ConfigError, match=rf"at most 65,536.*{most} latents of {latent.num_categories} values"):
        Exact().check_latent(latent)
    smaller = dataclasses.replace(latent, num_latents=most)
    Exact().check_latent(smaller)
    assert "exact" not in [estimator.name for estimator in fitting_estimators(latent)]


def test_reinmax_is_refused_below_temperature_one_and_nothing_is_used_at_zero():
    ReinMax().check_temperature(1.0)
    with pytest.raises(ConfigError, match=r"'reinmax' needs at least 1, got 0\.5; raise the schedule's minimum"):
        ReinMax().check_temperature(0.5)
    for estimator in (ReinMax(), StraightThroughGumbel()):
        for tau in (0.0, -1.0, float("nan")):
            with pytest.raises(ConfigError, match="expected more than 0"):
                estimator.check_temperature(tau)
    StraightThroughGumbel().check_temperature(1e-3)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_fitting_estimators_are_those_that_can_be_built(latent):
    fitting = [estimator.name for estimator in fitting_estimators(latent)]
    for name, estimator in ESTIMATORS.items():
        if name in fitting:
            estimator().check_latent(latent)
        else:
            with pytest.raises(ConfigError):
                estimator().check_latent(latent)


def test_only_the_methods_proved_so_call_themselves_unbiased():
    unbiased = {name for name, estimator in ESTIMATORS.items() if estimator.is_unbiased}
    assert unbiased == {"reinforce_leave_one_out", "muprop", "arm", "disarm", "exact"}
    relaxed = {name for name, estimator in ESTIMATORS.items() if not estimator.is_discrete}
    assert relaxed == {"pathwise"}


def test_estimators_say_how_often_they_evaluate_the_cost():
    bits = LATENTS[0]
    assert ReinforceLeaveOneOut(num_samples=7).num_evaluations(bits) == 7
    assert DisArm(num_pairs=3).num_evaluations(bits) == 6
    assert Exact().num_evaluations(bits) == 8
    for estimator in (StraightThrough(), GumbelRao(), GappedStraightThrough(), DecoupledStraightThroughGumbel()):
        assert estimator.num_evaluations(bits) == 1
