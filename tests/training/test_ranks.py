"""What each of several processes computes of a step, in one process."""

import dataclasses

import pytest
import torch
from tiny_runs import BITS, CATEGORIES, CONV, CPU, MLP, digits, tiny_config

from training import ranks as ranks_module
from training.__main__ import main
from training.batches import TrainingBatches
from training.config import parse, to_dict
from training.devices import choose_device
from training.errors import ConfigError
from training.estimators import ESTIMATORS, fitting_estimators
from training.latents import LatentConfig
from training.noise import NoiseOfRows, draw
from training.objectives import build_objective
from training.ranks import ALONE, Ranks, launched_ranks
from training.runs import build_model
from training.step import StepProgram, noise_of_share

FEW_BITS, FEW_CATEGORIES = LatentConfig(**BITS), LatentConfig(**CATEGORIES)


def of(latent=BITS, **sections):
    table = to_dict(tiny_config(latent, sections.pop("network", MLP)))
    return parse({**table, "relaxation_temperature": {"kind": "constant", "value": 1.0}, **sections})


CASES = {
    **{
        f"{estimator.name} {latent.kind}": of(dataclasses.asdict(latent), estimator={"name": estimator.name})
        for latent in (FEW_BITS, FEW_CATEGORIES)
        for estimator in fitting_estimators(latent)
    },
    "convolutions": of(network=CONV),
    "a relaxed bound": of(objective={"kl": "relaxed", "num_importance_samples": 3}, estimator={"name": "pathwise"}),
    "importance weights": of(objective={"num_importance_samples": 3}, estimator={"name": "gumbel_rao"}),
    "vimco": of(CATEGORIES, objective={"num_importance_samples": 3}, estimator={"name": "reinforce_leave_one_out"}),
    "wake and sleep": of(
        objective={"num_importance_samples": 3, "encoder": "inclusive_kl"},
        estimator={"name": "reinforce_leave_one_out"},
    ),
    "inputs hidden from the encoder": of(CATEGORIES, objective={"input_dropout": 0.3}),
    "an autoregressive prior": of(prior={"name": "autoregressive", "hidden": [8]}),
    "a weighted rate": of(objective={"beta": {"kind": "constant", "value": 0.3}}),
    "logistic-normal bits": of(relaxation={"name": "logistic_normal"}),
}


def computed(config, share):
    """The gradients and terms of one step for these rows of its batch, and the generator afterwards."""
    model = build_model(config, digits())
    batches = TrainingBatches(digits(), batch_size=12, seed=5, device=CPU, share=share)
    generator = torch.Generator().manual_seed(3)
    inputs = batches.inputs(2, generator)
    objective = build_objective(config.objective, model, config.estimator)
    result = objective(
        inputs,
        relaxation_temperature=torch.tensor(1.0),
        generator=noise_of_share(generator, batches, model),
        beta=torch.tensor(0.3),
    )
    result.loss.backward()
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return gradients, result.terms, generator.get_state()


def test_every_estimator_is_among_the_cases():
    assert {config.estimator.name for config in CASES.values()} == set(ESTIMATORS)


@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
def test_the_mean_over_shares_of_a_batch_is_what_the_batch_gives(config):
    whole_gradients, whole_terms, state = computed(config, None)
    parts = [computed(config, slice(start, start + 4)) for start in (0, 4, 8)]
    for name, gradient in whole_gradients.items():
        mean = torch.stack([gradients[name] for gradients, _, _ in parts]).mean(dim=0)
        torch.testing.assert_close(mean, gradient, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
    for name, values in whole_terms.items():
        torch.testing.assert_close(torch.cat([terms[name] for _, terms, _ in parts]), values, rtol=1e-5, atol=1e-5)
    # So a run can be continued by another number of processes.
    assert all(torch.equal(part_state, state) for _, _, part_state in parts)


@pytest.mark.parametrize("placement", ["resident", "streamed"])
def test_the_rows_of_all_shares_are_those_of_the_batch(placement):
    def rows(share):
        batches = TrainingBatches(digits(), batch_size=64, seed=5, device=CPU, share=share, placement=placement)
        try:
            # The last of one epoch, the first of the next.
            return [batches.inputs(step, torch.Generator().manual_seed(0)).clone() for step in (18, 19, 20)]
        finally:
            batches.close()

    whole = rows(None)
    parts = zip(rows(slice(0, 32)), rows(slice(32, 64)), strict=True)
    for batch, halves in zip(whole, parts, strict=True):
        assert torch.equal(torch.cat(halves), batch)


@pytest.mark.parametrize("name", ["gumbel", "logistic", "normal"])
@pytest.mark.parametrize("lead", [(), (5,), (2, 5)], ids=str)
def test_rows_of_a_batch_get_the_noise_that_the_whole_batch_would_give_them(name, lead):
    whole = draw(name, (*lead, 6, 3, 4), torch.Generator().manual_seed(1))
    rows = NoiseOfRows(torch.Generator().manual_seed(1), slice(2, 4), batch_size=6, num_row_axes=2)
    assert torch.equal(draw(name, (*lead, 2, 3, 4), rows), whole[..., 2:4, :, :])


def test_shares_are_even_and_hold_every_row_once():
    shares = [Ranks(rank=rank, size=4).share(20) for rank in range(4)]
    assert [row for share in shares for row in range(20)[share]] == list(range(20))
    assert ALONE.share(7) == slice(0, 7)


def test_a_batch_that_cannot_be_shared_out_is_refused_before_anybody_is_waited_for(monkeypatch, tmp_path, capsys):
    launched(monkeypatch, WORLD_SIZE=3, LOCAL_WORLD_SIZE=3)
    assert main(["fit", "--set", "training.batch_size=64", "--run", str(tmp_path / "run"), "--device", "cpu"]) == 1
    assert capsys.readouterr().err == (
        "rank 0: ConfigError: training.batch_size: expected a multiple of 3, the number of processes that share a "
        "batch, got 64\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["sweep", "evaluate run", "report run", "gradient-report run", "export run"])
def test_what_one_process_does_is_refused_where_several_were_started(monkeypatch, capsys, command):
    launched(monkeypatch)
    assert main(command.split()) == 1
    expected = f"ConfigError: {command.split()[0]}: only `fit` is done by several processes, and torchrun started 2"
    assert expected in capsys.readouterr().err


def launched(monkeypatch, **values):
    """The environment of a process that torchrun started."""
    given = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2, **values}
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))


def test_a_process_is_alone_unless_torchrun_says_otherwise(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert launched_ranks() == ALONE
    launched(monkeypatch, RANK=5, WORLD_SIZE=8, LOCAL_RANK=1, LOCAL_WORLD_SIZE=4)
    assert launched_ranks() == Ranks(rank=5, size=8, local_rank=1, local_size=4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"LOCAL_RANK": "first"}, "not the numbers RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE that torchrun sets"),
        ({"RANK": 2}, "the environment says rank 2 of 2"),
    ],
)
def test_an_environment_that_is_none_of_torchrun_is_refused(monkeypatch, values, message):
    launched(monkeypatch, **values)
    with pytest.raises(ConfigError, match=message):
        launched_ranks()


def test_each_process_of_a_host_has_a_gpu_of_its_own_and_more_than_there_are_is_refused(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert choose_device("auto", Ranks(rank=3, size=4, local_rank=1, local_size=2)) == torch.device("cuda", 1)
    assert chosen == [1]
    assert choose_device("cpu", Ranks(rank=3, size=4, local_rank=1, local_size=2)) == CPU
    with pytest.raises(ConfigError, match="3 processes on this host, and PyTorch sees 2 of its GPUs"):
        choose_device("cuda", Ranks(rank=0, size=3, local_rank=0, local_size=3))


def test_a_compiled_loss_that_needs_the_other_ranks_is_refused():
    config = of(objective={"free_bits": 0.1})
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, compile=True))
    batches = TrainingBatches(digits(), batch_size=64, seed=0, device=CPU, share=slice(0, 32))
    with pytest.raises(ConfigError, match=r"training\.compile: expected false with objective\.free_bits"):
        StepProgram(config, build_model(config, digits()), batches, ranks=Ranks(rank=0, size=2))


def test_alone_nothing_is_sent_and_nothing_changes():
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    assert ALONE.mean(values) is values
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.from_first("mine") == "mine"
    ALONE.check_same(step=3)
    with ranks_module.joined(ALONE, CPU), ALONE.first_on_host():
        pass
    assert not torch.distributed.is_initialized()
