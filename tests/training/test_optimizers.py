import math

import pytest
import torch

from training.config import parse
from training.errors import ConfigError
from training.optimizers import build_optimizer

RATE = 0.01
GRADIENTS = (3.0, -2.0, 0.5)


def config(name, rate=RATE):
    return parse({"optimizer": {"name": name, "learning_rate": rate}}).optimizer


def path_of(name):
    """Where one weight that starts at 1 goes under these gradients, in float64."""
    weight = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
    optimizer = build_optimizer(config(name), [weight])
    path = []
    for gradient in GRADIENTS:
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        path.append(weight.item())
    return path


def adam(gradients):
    """Kingma and Ba 2015, algorithm 1, with its defaults."""
    weight, first, second = 1.0, 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        weight -= RATE * (first / (1 - 0.9**step)) / (math.sqrt(second / (1 - 0.999**step)) + 1e-8)
        yield weight


def radam(gradients):
    """Liu et al. 2020, algorithm 2: in the first five steps the variance is unknown, and momentum moves alone."""
    weight, first = 1.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        weight -= RATE * first / (1 - 0.9**step)
        yield weight


def sgd(gradients):
    """Heavy-ball momentum of 0.9."""
    weight, velocity = 1.0, 0.0
    for gradient in gradients:
        velocity = 0.9 * velocity + gradient
        weight -= RATE * velocity
        yield weight


@pytest.mark.parametrize(("name", "oracle"), [("adam", adam), ("radam", radam), ("sgd", sgd)])
def test_a_weight_moves_as_the_paper_says(name, oracle):
    assert path_of(name) == pytest.approx(list(oracle(GRADIENTS)), rel=1e-9)


@pytest.mark.parametrize("rate", [-1e-3, math.nan, math.inf, -math.inf])
def test_a_learning_rate_that_is_no_rate_is_refused(rate):
    with pytest.raises(ConfigError, match="learning_rate"):
        config("adam", rate)


def test_an_unknown_optimizer_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"^optimizer\.name: .*'adam', 'radam' or 'sgd', got 'lion'$"):
        config("lion")
