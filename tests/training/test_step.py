import copy
import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import BITS, CATEGORIES, CPU, assert_same_run, digits, newest, tiny_config, train

from training import checkpoint, config
from training.batches import TrainingBatches
from training.estimators import fitting_estimators
from training.objectives import build_objective
from training.runs import build_model
from training.schedules import value
from training.step import StepProgram

ROOT = Path(__file__).parents[2]
# Powers of two, which float32 holds exactly; the second half of them after the epoch of 22 steps.
RATE = {"kind": "piecewise", "steps": [0, 5, 25], "values": [2**-8, 2**-9, 2**-7], "interpolation": "hold"}
BETA = {"kind": "piecewise", "steps": [0, 24], "values": [0.25, 1.0]}


def settings(latent=BITS, *, estimator=None, optimizer="adam", data=None, **training):
    table = config.to_dict(tiny_config(latent, **training))
    return config.parse(
        {
            **table,
            "estimator": estimator or {"name": "straight_through_gumbel"},
            "relaxation_temperature": {"kind": "exponential", "initial": 2.0, "minimum": 1.0, "rate": 1e-2},
            "objective": {"beta": BETA},
            "optimizer": {"name": optimizer, "learning_rate": RATE},
            "data": data or {},
        }
    )


def program_of(run):
    batches = TrainingBatches(digits(), batch_size=run.training.batch_size, seed=run.training.seed, device=CPU)
    return StepProgram(run, build_model(run, digits()), batches)


def plain_loop(run, num_steps):
    """The same run written the plain way, with Python numbers: its weights, and the sums of the means of its terms."""
    seed = run.training.seed
    model = build_model(run, digits())
    objective = build_objective(run.objective, model, run.estimator)
    batches = TrainingBatches(digits(), batch_size=run.training.batch_size, seed=seed, device=CPU)
    generator = torch.Generator().manual_seed(seed)
    optimizer = {
        "adam": lambda: torch.optim.Adam(model.parameters(), fused=True),
        "radam": lambda: torch.optim.RAdam(model.parameters(), foreach=True),
        "sgd": lambda: torch.optim.SGD(model.parameters(), momentum=0.9, fused=True),
    }[run.optimizer.name]()
    sums = 0
    for step in range(num_steps):
        result = objective(
            batches.inputs(step, generator),
            relaxation_temperature=torch.tensor(value(run.relaxation_temperature, step)),
            generator=generator,
            beta=torch.tensor(value(run.objective.beta, step)),
        )
        optimizer.param_groups[0]["lr"] = value(run.optimizer.learning_rate, step)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        sums += torch.stack([term.mean() for term in result.terms.values()]).double()
    return model.state_dict(), sums


def stepped(program, num_steps):
    for step in range(num_steps):
        program.prepare(step)
        program()
    return program.model.state_dict(), program.window[1:]


@pytest.mark.parametrize("optimizer", ["adam", "radam", "sgd"])
@pytest.mark.parametrize("latent", [BITS, CATEGORIES], ids=["binary", "categorical"])
def test_the_program_gives_the_numbers_of_the_plain_loop(latent, optimizer):
    run = settings(latent, optimizer=optimizer)
    weights, sums = plain_loop(run, 30)
    got_weights, got_sums = stepped(program_of(run), 30)
    for name, expected in weights.items():
        if optimizer == "radam":
            torch.testing.assert_close(got_weights[name], expected, rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(got_weights[name], expected), name
    torch.testing.assert_close(got_sums, sums, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(settings(latent, estimator={"name": estimator.name}), id=f"{estimator.name}-{latent['kind']}")
        for latent in (BITS, CATEGORIES)
        for estimator in fitting_estimators(tiny_config(latent).latent)
    ],
)
def test_every_estimator_steps_as_in_the_plain_loop(run):
    weights, _ = plain_loop(run, 3)
    got, _ = stepped(program_of(run), 3)
    for name, expected in weights.items():
        assert torch.equal(got[name], expected), name


def test_a_step_leaves_its_state_where_it_was_so_that_it_could_be_replayed():
    # A replay reads and writes the very memory of the recording: weights, sums and schedules may not move.
    program = program_of(settings())
    stepped(program, 4)
    tensors = [*program.model.parameters(), program.window, *program.generators]
    places = [tensor.data_ptr() for tensor in tensors if isinstance(tensor, torch.Tensor)]
    state = [entry.data_ptr() for entries in program.optimizer.state.values() for entry in entries.values()]
    for step in range(4, 30):
        program.prepare(step)
        program()
    assert places == [tensor.data_ptr() for tensor in tensors if isinstance(tensor, torch.Tensor)]
    assert state == [entry.data_ptr() for entries in program.optimizer.state.values() for entry in entries.values()]


def test_preparing_from_the_middle_of_an_epoch_takes_the_step_that_would_have_come():
    whole, resumed = program_of(settings()), program_of(settings())
    stepped(whole, 9)
    resumed.model.load_state_dict(whole.model.state_dict())
    resumed.load_optimizer(copy.deepcopy(whole.optimizer.state_dict()))
    resumed.generator.set_state(whole.generator.get_state())
    for step in range(9, 30):
        for program in (whole, resumed):
            program.prepare(step)
            program()
    for name, expected in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], expected), name


class TestLowerPrecision:
    @pytest.mark.parametrize("latent", [BITS, CATEGORIES], ids=["binary", "categorical"])
    def test_layers_are_bfloat16_and_everything_after_them_float32(self, latent, monkeypatch):
        seen = {}
        program = program_of(settings(latent, precision="bfloat16"))
        model = program.model
        relaxation = model.relaxation
        original = relaxation.scores

        def watched(self, noise, temperature=1.0):
            seen["noise"], seen["logits"] = noise.dtype, self.logits.dtype
            seen["scores"] = (result := original(self, noise, temperature)).dtype
            return result

        monkeypatch.setattr(relaxation, "scores", watched)
        model.decoder.body.register_forward_hook(lambda _, __, output: seen.update(products=output.dtype))
        model.decoder.register_forward_hook(lambda _, __, output: seen.update(outputs=output.dtype))
        stepped(program, 1)
        assert seen.pop("products") == torch.bfloat16
        assert set(seen.values()) == {torch.float32}
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}

    def test_the_noise_is_that_of_float32(self):
        draws = []
        for precision in ("float32", "bfloat16"):
            program = program_of(settings(precision=precision))
            stepped(program, 3)
            draws.append(torch.rand(8, generator=program.generator))
        assert torch.equal(*draws)

    def test_it_learns_as_much_to_within_its_rounding(self):
        _, exact = stepped(program_of(settings(num_steps=200)), 200)
        _, rounded = stepped(program_of(settings(num_steps=200, precision="bfloat16")), 200)
        torch.testing.assert_close(rounded, exact, rtol=5e-3, atol=0)

    def test_a_run_in_it_is_continued_bit_for_bit(self, tmp_path):
        run = settings(precision="bfloat16")
        train(run, tmp_path / "whole")
        train(run, tmp_path / "pieces", interrupted_at=(13,))
        assert_same_run(tmp_path / "whole", tmp_path / "pieces")


class TestCompiledAsAWhole:
    """By a compiler that changes nothing, so that the shapes within are checked too."""

    @pytest.fixture
    def compiled(self, monkeypatch):
        functions = []

        def compiler(function, **options):
            functions.append(function)
            return function

        monkeypatch.setattr(torch, "compile", compiler)
        return functions

    @pytest.mark.parametrize(
        "run",
        [
            pytest.param(settings(latent, estimator={"name": name}, compile=True), id=f"{name}-{latent['kind']}")
            for latent in (BITS, CATEGORIES)
            for name in ("straight_through_gumbel", "reinforce_leave_one_out", "gumbel_rao")
        ],
    )
    def test_it_gives_the_numbers_of_the_plain_loop(self, run, compiled):
        weights, sums = plain_loop(run, 30)
        program = program_of(run)
        got_weights, got_sums = stepped(program, 30)
        assert len(compiled) == 1
        for name, expected in weights.items():
            torch.testing.assert_close(got_weights[name], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(got_sums, sums, rtol=1e-5, atol=0)
        assert program.window[0] == 30
        assert program.optimizer_state()["param_groups"][0]["lr"] == value(run.optimizer.learning_rate, 29)

    def test_it_leaves_its_state_where_it_was(self, compiled):
        program = program_of(settings(compile=True))
        stepped(program, 4)

        def places():
            entries = [entry for state in program.optimizer.state.values() for entry in state.values()]
            return [tensor.data_ptr() for tensor in [*program.model.parameters(), program.window, *entries]]

        before = places()
        for step in range(4, 30):
            program.prepare(step)
            program()
        assert places() == before

    def test_with_another_optimizer_the_loss_alone_is_compiled_and_one_line_says_so(self, compiled, caplog):
        run = settings(optimizer="sgd", compile=True)
        weights, _ = plain_loop(run, 10)
        with caplog.at_level("INFO"):
            got, _ = stepped(program_of(run), 10)
        assert len(compiled) == 1
        assert (
            "of a step the loss alone is compiled: the one update that can be compiled with it is Adam's" in caplog.text
        )
        for name, expected in weights.items():
            assert torch.equal(got[name], expected), name

    def test_where_it_cannot_be_compiled_the_plain_steps_are_taken_to_the_bit(self, monkeypatch, caplog):
        def failing(*arguments):
            raise RuntimeError("no working C++ compiler found")

        monkeypatch.setattr(torch, "compile", lambda function, **options: failing)
        run = settings(compile=True)
        weights, sums = plain_loop(run, 30)
        got, got_sums = stepped(program_of(run), 30)
        assert caplog.text.count("steps are not compiled (no working C++ compiler found)") == 1
        for name, expected in weights.items():
            assert torch.equal(got[name], expected), name
        torch.testing.assert_close(got_sums, sums, rtol=1e-6, atol=0)


def fit_apart(*arguments, **environment):
    """`fit` in a process of its own: the checks of shapes that wrap every function here cannot be compiled."""
    command = [sys.executable, "-m", "training", "fit", *arguments, "--device", "cpu"]
    return subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_compiled_step_gives_the_numbers_of_the_plain_one_up_to_rounding_and_continues_bit_for_bit(tmp_path):
    run = settings(num_threads=1, milestones=[13])
    train(run, tmp_path / "plain")
    compiled = dataclasses.replace(run, training=dataclasses.replace(run.training, compile=True))
    (tmp_path / "config.toml").write_text(config.to_toml(compiled))
    fit_apart("--config", tmp_path / "config.toml", "--run", tmp_path / "compiled")
    for name, expected in newest(tmp_path / "plain").model.items():
        torch.testing.assert_close(newest(tmp_path / "compiled").model[name], expected, rtol=1e-3, atol=1e-4)
    # As if it had died after the checkpoint of step 13.
    shutil.copytree(tmp_path / "compiled", tmp_path / "pieces")
    for path in checkpoint.checkpoints(tmp_path / "pieces"):
        if checkpoint.step_of(path) > 13:
            path.unlink()
    assert newest(tmp_path / "pieces").step == 13
    fit_apart("--resume", "--run", tmp_path / "pieces")
    assert_same_run(tmp_path / "compiled", tmp_path / "pieces")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_without_a_cpp_compiler_a_run_goes_on_uncompiled_to_the_plain_numbers_and_says_so(tmp_path):
    run = settings(num_threads=1)
    train(run, tmp_path / "plain")
    compiled = dataclasses.replace(run, training=dataclasses.replace(run.training, compile=True))
    (tmp_path / "config.toml").write_text(config.to_toml(compiled))
    ended = fit_apart(
        *("--config", tmp_path / "config.toml", "--run", tmp_path / "run"),
        CXX=str(tmp_path / "no-compiler"),
        TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert ended.stderr.count("steps are not compiled (") == 1
    for name, expected in newest(tmp_path / "plain").model.items():
        assert torch.equal(newest(tmp_path / "run").model[name], expected), name
