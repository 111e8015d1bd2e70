import numpy as np
import pytest
import torch
from tiny_runs import BITS, CATEGORIES, CONV, CPU, MLP, assert_identical, digits, newest, tiny_config, train

from training import checkpoint, runs
from training.config import parse, to_toml
from training.data import load
from training.data.material import input_spec
from training.data.splits import Split
from training.errors import ConfigError, RunError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 30 steps. Not to be written to."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    settings = tiny_config()
    runs.create(folder, settings)
    train(settings, folder)
    return folder


def test_a_new_run_holds_its_resolved_configuration(tmp_path):
    settings = tiny_config(CATEGORIES, CONV, seed=5)
    runs.create(tmp_path / "some" / "where", settings)
    assert runs.read_config(tmp_path / "some" / "where") == settings


def test_a_folder_that_holds_a_run_is_not_taken_by_another(tmp_path):
    runs.create(tmp_path, tiny_config())
    with pytest.raises(
        RunError, match=f"^{tmp_path} holds a run already: continue it with --resume, or choose another"
    ):
        runs.create(tmp_path, tiny_config(seed=9))
    assert runs.read_config(tmp_path) == tiny_config()


def test_a_run_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match=f"^cannot write to the run folder {folder}: "):
            runs.create(folder, tiny_config())


def test_a_folder_without_a_configuration_is_no_run(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match=f"^{folder} is not the folder of a run: it has no config.toml"):
            runs.read_config(folder)


def test_an_opened_run_is_its_newest_checkpoint_ready_to_be_measured(finished):
    run = runs.open_run(finished, device=CPU)
    assert run.config == tiny_config()
    assert run.step == 30
    assert run.seconds > 0
    assert run.device == "cpu, 1 thread"
    assert not run.model.training
    assert_identical(run.model.state_dict(), newest(finished).model)
    inputs = torch.from_numpy(run.dataset.evaluation_inputs("test"))
    assert torch.equal(inputs, torch.from_numpy(digits().evaluation_inputs("test")))


def test_a_run_without_a_checkpoint_is_told_to_train_first(tmp_path):
    runs.create(tmp_path, tiny_config())
    with pytest.raises(RunError, match=f"no checkpoint yet: train it with .* --resume --run {tmp_path}"):
        runs.open_run(tmp_path, device=CPU)


def test_a_run_whose_configuration_was_changed_under_its_weights_is_refused(tmp_path, finished):
    (tmp_path / "checkpoints").mkdir()
    file = checkpoint.checkpoints(finished)[-1]
    (tmp_path / "checkpoints" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.toml").write_text(to_toml(tiny_config(latent={"kind": "binary", "num_latents": 6})))
    with pytest.raises(
        RunError, match=f"{file.name} does not fit the model of the run's config.toml and data"
    ) as caught:
        runs.open_run(tmp_path, device=CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("network", [MLP, CONV], ids=["mlp", "conv"])
@pytest.mark.parametrize("latent", [BITS, CATEGORIES], ids=["binary", "categorical"])
def test_the_weights_a_run_starts_from_are_those_of_its_seed(latent, network):
    one, same, other = (runs.build_model(tiny_config(latent, network, seed=seed), digits()) for seed in (1, 1, 2))
    assert_identical(one.state_dict(), same.state_dict())
    assert any(not torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))


def test_building_a_model_leaves_the_global_stream_alone():
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    runs.build_model(tiny_config(), digits())
    assert torch.equal(torch.rand(3), expected)


def test_convolutions_are_refused_on_vectors_with_what_would_work():
    vectors = type(digits())(**{**vars(digits()), "input": input_spec((64,))})
    with pytest.raises(ConfigError, match=r"conv.*\[64\]|64.*conv|image"):
        runs.build_model(parse({"network": CONV}), vectors)


def grey(likelihood, **data):
    return parse({"data": {"binarization": "none", **data}, "likelihood": {"name": likelihood}, "network": MLP})


def test_grey_values_under_a_bernoulli_likelihood_are_refused_with_what_would_work():
    settings = grey("bernoulli")
    with pytest.raises(ConfigError) as caught:
        runs.build_model(settings, load(settings.data))
    assert str(caught.value).startswith("data.binarization: digits has values between 0 and 1")
    for remedy in ('data.binarization to "dynamic"', 'likelihood.name = "grey_cross_entropy"'):
        assert remedy in str(caught.value)


@pytest.mark.parametrize("likelihood", ["grey_cross_entropy", "gaussian"])
def test_grey_values_are_taken_by_what_is_made_for_them(likelihood):
    settings = grey(likelihood)
    assert runs.build_model(settings, load(settings.data)).likelihood.name == likelihood


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_value_without_probability_is_named_with_its_split_before_training(split):
    settings = grey("discretised_logistic")
    eight_bits = {name: Split(np.full((12, 64), 7, np.uint8)) for name in ("train", "valid", "test")}
    dataset = type(digits())(**{**vars(digits()), "binarization": "none", "splits": eight_bits, "scale": 255.0})
    assert runs.build_model(settings, dataset).likelihood.name == "discretised_logistic"
    odd = np.full((12, 64), 7, np.float32)
    odd[5, 3] = 7.5
    dataset = type(digits())(**{**vars(dataset), "splits": {**eight_bits, split: Split(odd)}})
    with pytest.raises(ConfigError, match=f"likelihood.name: .* does not fit digits {split}, .* row 5, value 3"):
        runs.build_model(settings, dataset)


def test_a_run_can_be_had_as_it_was_at_every_checkpoint_and_before_training(finished):
    run = runs.open_run(finished, device=CPU)
    there = runs.checkpointed_steps(finished)
    assert there == [0, 27, 30]
    models = dict(runs.models_at(run, [30, 0, 27]))
    assert list(models) == [30, 0, 27]
    assert_identical(models[0].state_dict(), runs.build_model(run.config, run.dataset).state_dict())
    for step, file in zip(there[1:], checkpoint.checkpoints(finished), strict=True):
        assert_identical(models[step].state_dict(), checkpoint.load(file, device=CPU).model)
        assert not models[step].training


def test_a_step_without_a_checkpoint_is_named_beside_those_there_are(finished):
    run = runs.open_run(finished, device=CPU)
    with pytest.raises(RunError, match=r"no checkpoint of step 12, 29: expected steps among 0, 27, 30; .*milestones"):
        runs.models_at(run, [12, 27, 29])
