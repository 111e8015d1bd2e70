import pytest
import torch

from training.config import parse
from training.fused_step import adam_state, corrections, update, why_not_fused
from training.optimizers import build_optimizer
from training.ranks import ALONE, Ranks

RATE = torch.tensor(0.01)


def built(name, parameters):
    return build_optimizer(parse({"optimizer": {"name": name}}).optimizer, parameters, rate=RATE.clone())


def parameters_of(seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"body.weight": (7, 5), "body.bias": (7,)}
    return {name: torch.nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}


def gradients_of(parameters, step):
    generator = torch.Generator().manual_seed(100 + step)
    return {name: torch.randn(value.shape, generator=generator) for name, value in parameters.items()}


def step_of_torch(optimizer, parameters, step):
    for name, gradient in gradients_of(parameters, step).items():
        parameters[name].grad = gradient
    optimizer.step()


def step_of_ours(optimizer, parameters, step):
    state = adam_state(optimizer, parameters)
    update(optimizer, state, gradients_of(state.weights, step), corrections(optimizer, state), RATE)


def test_the_update_is_that_of_torch_and_each_continues_from_the_other():
    theirs, ours = parameters_of(0), parameters_of(0)
    their_optimizer, our_optimizer = built("adam", theirs.values()), built("adam", ours.values())
    for step in range(40):
        step_of_torch(their_optimizer, theirs, step)
        # The first makes the state; a stretch in the middle is torch's again.
        alternating = step_of_torch if step == 0 or 15 <= step < 20 else step_of_ours
        alternating(our_optimizer, ours, step)
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-5, atol=1e-6)
        for entry, value in their_optimizer.state[expected].items():
            torch.testing.assert_close(our_optimizer.state[ours[name]][entry], value, rtol=1e-5, atol=1e-7)


def test_weights_and_moments_stay_where_they_are():
    parameters = parameters_of(0)
    optimizer = built("adam", parameters.values())
    step_of_torch(optimizer, parameters, 0)

    def places():
        entries = [entry for state in optimizer.state.values() for entry in state.values()]
        return [tensor.data_ptr() for tensor in [*parameters.values(), *entries]]

    before = places()
    step_of_ours(optimizer, parameters, 1)
    assert places() == before


def test_a_weight_that_has_never_had_a_gradient_is_left_alone():
    parameters = {**parameters_of(0), "unused": torch.nn.Parameter(torch.ones(3))}
    optimizer = built("adam", parameters.values())
    for name, gradient in gradients_of(parameters_of(0), 0).items():
        parameters[name].grad = gradient
    optimizer.step()
    assert set(adam_state(optimizer, parameters).weights) == {"body.weight", "body.bias"}


@pytest.mark.parametrize(
    ("device", "optimizer", "ranks", "reason"),
    [
        pytest.param("cpu", "adam", ALONE, None, id="adam-on-a-cpu"),
        pytest.param("cuda", "adam", ALONE, "on a GPU", id="a-gpu-records-instead"),
        pytest.param("cpu", "sgd", ALONE, "Adam's", id="another-optimiser"),
        pytest.param("cpu", "adam", Ranks(rank=0, size=2), "several processes", id="several-processes"),
    ],
)
def test_what_stands_against_it_is_said(device, optimizer, ranks, reason):
    got = why_not_fused(torch.device(device), built(optimizer, parameters_of(0).values()), ranks)
    assert got is None if reason is None else reason in got
