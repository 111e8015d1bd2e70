import pytest
import torch
from tiny_runs import BITS, CATEGORIES, CONV, CPU, MLP, assert_identical, digits, newest, tiny_config, train

from training import checkpoint, runs
from training.config import parse, to_toml
from training.data.material import input_spec
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
