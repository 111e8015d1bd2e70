import dataclasses
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.noise import MAX_SEED
from training import config
from training.config import RunConfig, TrainingConfig, parse, read, to_dict, to_toml
from training.errors import ConfigError
from training.networks import ConvConfig, MlpConfig
from training.schedules import PiecewiseSchedule

PRESETS = sorted((Path(config.__file__).parent / "presets").glob("*.toml"))


def test_there_are_presets_for_the_default_and_for_the_shipped_models():
    assert {"mnist-binary", "mnist-categorical"} <= {path.stem for path in PRESETS}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_is_a_configuration_of_its_own_name(path):
    assert read(path).name == path.stem


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_survives_being_written_and_read_again(path):
    preset = read(path)
    assert parse(tomllib.loads(to_toml(preset))) == preset


def test_nothing_given_is_the_default():
    assert read(None) == parse({}) == RunConfig()


WIDTHS = st.integers(1, 300)
NETWORKS = st.one_of(
    st.fixed_dictionaries(
        {
            "kind": st.just("mlp"),
            "hidden": st.lists(WIDTHS, max_size=3),
            "activation": st.sampled_from(["relu", "gelu"]),
        }
    ),
    st.fixed_dictionaries({"kind": st.just("conv"), "channels": st.lists(WIDTHS, min_size=1), "hidden": WIDTHS}),
)
LATENTS = st.one_of(
    st.fixed_dictionaries({"kind": st.just("binary"), "num_latents": st.integers(1, 200)}),
    st.fixed_dictionaries(
        {"kind": st.just("categorical"), "num_latents": st.integers(1, 50), "num_categories": st.integers(2, 64)}
    ),
)
DATA = st.one_of(
    st.fixed_dictionaries(
        {"name": st.just("digits"), "valid_fraction": st.floats(0.01, 0.4), "split_seed": st.integers(0, MAX_SEED)}
    ),
    st.fixed_dictionaries(
        {
            "name": st.just("folder"),
            "path": st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
            "resize": st.lists(st.integers(1, 64), min_size=2, max_size=2),
        }
    ),
)
TABLES = st.fixed_dictionaries(
    {},
    optional={
        "name": st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}[a-z0-9]", fullmatch=True),
        "description": st.text(st.characters(exclude_categories=["Cs"])),
        "data": DATA,
        "latent": LATENTS,
        "network": NETWORKS,
        "optimizer": st.fixed_dictionaries(
            {"name": st.sampled_from(["adam", "sgd"]), "learning_rate": st.floats(1e-9, 1e3)}
        ),
        "training": st.fixed_dictionaries({"seed": st.integers(0, MAX_SEED), "num_steps": st.integers(1, 10**9)}),
    },
)


@given(TABLES)
@settings(max_examples=50)
def test_every_configuration_survives_being_written_and_read_again(table):
    parsed = parse(table)
    assert parse(tomllib.loads(to_toml(parsed))) == parsed
    written = to_dict(parsed)
    for section, given_values in table.items():
        if section in ("name", "description"):
            assert written[section] == given_values
            continue
        for key, value in given_values.items():
            if (section, key) != ("optimizer", "learning_rate"):  # a number stands for a schedule
                assert written[section][key] == value


def test_parsing_leaves_the_table_as_it_was():
    table = {"network": {"hidden": [3]}, "optimizer": {"learning_rate": 0.1}}
    parse(table)
    assert table == {"network": {"hidden": [3]}, "optimizer": {"learning_rate": 0.1}}


def test_the_kind_of_a_network_decides_its_keys():
    assert parse({"network": {"hidden": [7, 5]}}).network == MlpConfig(hidden=(7, 5))
    assert parse({"network": {"kind": "conv", "hidden": 7}}).network == ConvConfig(hidden=7)
    with pytest.raises(ConfigError, match=r"^unknown key network\.channels: "):
        parse({"network": {"kind": "mlp", "channels": [3]}})
    with pytest.raises(ConfigError, match=r"^network\.hidden: .* got \[7, 5\]$"):
        parse({"network": {"kind": "conv", "hidden": [7, 5]}})


@pytest.mark.parametrize("kind", ["cnn", "", 3, True, ["conv"], {}])
def test_a_network_of_no_known_kind_is_refused_with_those_there_are(kind):
    with pytest.raises(ConfigError, match=r"^network\.kind: expected one of mlp, conv, got "):
        parse({"network": {"kind": kind}})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"trainig": {}}, "unknown key trainig: did you mean training?"),
        ({"training": {"num_step": 5}}, "unknown key training.num_step: did you mean training.num_steps?"),
        ({"latent": {"num_latent": 5}}, "unknown key latent.num_latent: did you mean latent.num_latents?"),
        ({"data": {"binarisation": "none"}}, "unknown key data.binarisation: did you mean data.binarization?"),
        ({"network": {"activations": "relu"}}, "unknown key network.activations: did you mean network.activation?"),
        (
            {"network": {"kind": "conv", "chanels": [3]}},
            "unknown key network.chanels: did you mean network.channels?",
        ),
        ({"optimizer": {"learning-rate": 1.0}}, "unknown key optimizer.learning-rate: did you mean optimizer.learning"),
        ({"relaxation_temperature": {"minumum": 1.0}}, "unknown key relaxation_temperature.minumum: did you mean"),
        ({"optimizer": {"weight": 1.0}}, "unknown key optimizer.weight: known keys are name, learning_rate"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(table, message):
    with pytest.raises(ConfigError) as caught:
        parse(table)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("table", "key", "got"),
    [
        ({"training": {"num_steps": "7"}}, "training.num_steps", "'7'"),
        ({"training": {"num_steps": True}}, "training.num_steps", "True"),
        ({"training": {"num_steps": 1.5}}, "training.num_steps", "1.5"),
        ({"training": {"num_steps": [1]}}, "training.num_steps", "[1]"),
        ({"training": {"num_steps": {}}}, "training.num_steps", ""),
        ({"training": 5}, "training", "5"),
        ({"data": []}, "data", "[]"),
        ({"name": 5}, "name", "5"),
        ({"network": "conv"}, "network", "'conv'"),
        ({"network": {"hidden": [3, "4"]}}, "network.hidden.1", "'4'"),
        ({"network": {"hidden": 3}}, "network.hidden", "3"),
        ({"latent": {"kind": "ternary"}}, "latent.kind", "'ternary'"),
        ({"latent": {"num_latents": None}}, "latent.num_latents", "None"),
        ({"data": {"name": "cifar"}}, "data.name", "'cifar'"),
        ({"data": {"name": "folder", "path": "x", "resize": [3]}}, "data.resize", "[3]"),
        ({"data": {"name": "folder", "path": "x", "mode": "RGBA"}}, "data.mode", "'RGBA'"),
        ({"optimizer": {"learning_rate": "fast"}}, "optimizer.learning_rate", "'fast'"),
        ({"estimator": {"name": "magic"}}, "estimator.name", "'magic'"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_key(table, key, got):
    with pytest.raises(ConfigError) as caught:
        parse(table)
    assert str(caught.value).startswith(key)
    assert got in str(caught.value)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"training": {"num_steps": 0}}, "num_steps: expected at least 1, got 0"),
        ({"training": {"batch_size": -3}}, "batch_size: expected at least 1, got -3"),
        ({"training": {"keep_checkpoints": 0}}, "keep_checkpoints: expected at least 1, got 0"),
        ({"training": {"milestones": [5, 0]}}, "milestones: expected steps from 1 to num_steps = 10000, got [5, 0]"),
        ({"training": {"milestones": [20000]}}, "milestones: expected steps from 1 to num_steps = 10000, got [20000]"),
        ({"training": {"seed": -1}}, "seed: expected at least 0, got -1"),
        ({"training": {"seed": MAX_SEED + 1}}, f"seed: expected at most {MAX_SEED}, got {MAX_SEED + 1}"),
        ({"latent": {"num_latents": 0}}, "num_latents: expected at least 1, got 0"),
        ({"latent": {"kind": "binary", "num_categories": 3}}, "num_categories: expected 2 for binary latents, got 3"),
        ({"latent": {"kind": "categorical", "num_categories": 1}}, "num_categories: expected "),
        ({"network": {"hidden": [3, 0]}}, "hidden: expected widths of at least 1, got [3, 0]"),
        ({"network": {"kind": "conv", "channels": []}}, "channels: expected one or more counts"),
        ({"relaxation_temperature": {"initial": 0.1, "minimum": 0.5}}, "0 < minimum <= initial"),
        ({"relaxation_temperature": {"rate": float("nan")}}, "rate"),
        ({"relaxation_temperature": {"update_every": 0}}, "update_every: expected at least 1, got 0"),
        ({"data": {"valid_fraction": 1.0}}, "data.valid_fraction: expected a fraction between 0 and 1"),
        ({"data": {"name": "folder"}}, "data.path: "),
        ({"data": {"path": "x"}}, "data.path: "),
        ({"name": "../elsewhere"}, "name: "),
        ({"name": "Two Words"}, "name: "),
        ({"name": ""}, "name: "),
    ],
)
def test_a_value_out_of_range_is_refused_with_what_was_expected(table, key):
    with pytest.raises(ConfigError) as caught:
        parse(table)
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", [field.name for field in dataclasses.fields(TrainingConfig) if field.type is int])
def test_no_number_of_the_training_section_may_be_negative(option):
    with pytest.raises(ConfigError, match=f"{option}: expected at least [01], got -1"):
        parse({"training": {option: -1}})


def test_overrides_are_written_as_in_toml_and_apply_in_order(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('name = "mine"\n[training]\nnum_steps = 7\nseed = 1\n')
    overridden = read(
        file,
        [
            "training.seed=2",
            "training.seed=3",
            "network.hidden=[3, 4]",
            "data.name=folder",  # a bare word is a string
            "data.path=~/my photos",
            'description="with = and . in it"',
            " training.batch_size = 5 ",
        ],
    )
    assert overridden.name == "mine"
    assert overridden.description == "with = and . in it"
    assert overridden.training == TrainingConfig(num_steps=7, seed=3, batch_size=5)
    assert overridden.network == MlpConfig(hidden=(3, 4))
    assert (overridden.data.name, overridden.data.path) == ("folder", "~/my photos")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.seed", "--set: expected section.key=value, got 'training.seed'"),
        ("=3", "--set: expected section.key=value, got '=3'"),
        ("training..seed=3", "--set: expected section.key=value, got 'training..seed=3'"),
        ("training.sed=3", "unknown key training.sed: did you mean training.seed?"),
        ("training.seed=three", "training.seed: Input should be a valid integer, got 'three'"),
        ("training=3", "training: expected a section, got 3"),
        ("name.first=x", "--set name.first: name is a value, not a section"),
        ("data.path=caf\udce9", "--set: expected text in UTF-8, got 'data.path=caf\\udce9'"),
    ],
)
def test_an_override_that_cannot_be_applied_is_named(tmp_path, override, message):
    file = tmp_path / "run.toml"
    file.write_text('name = "mine"\n')
    with pytest.raises(ConfigError) as caught:
        read(file, [override])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("content", [b"name = ", b"[training\n", b'name = "a"\nname = "b"\n', b'name = "\xff"\n'])
def test_a_file_that_is_no_toml_is_named(tmp_path, content):
    file = tmp_path / "run.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{file} is not valid TOML: "):
        read(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(ConfigError, match=f"^cannot read the configuration {path}: "):
            read(path)


def test_a_schedule_of_several_points_is_written_as_lists():
    table = {"kind": "piecewise", "steps": [0, 500], "values": [0, 1.0]}
    assert parse({"objective": {"beta": table}}).objective.beta == PiecewiseSchedule(steps=(0, 500), values=(0.0, 1.0))
