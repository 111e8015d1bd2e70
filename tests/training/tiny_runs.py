"""Runs so small that they take a moment, ways to cut them short, and what must then be equal."""

import functools
import threading

import torch

from training import checkpoint, config
from training.data import load
from training.runlog import METRICS_FILE
from training.trainer import Trainer

CPU = torch.device("cpu")
BITS = {"kind": "binary", "num_latents": 5}
CATEGORIES = {"kind": "categorical", "num_latents": 3, "num_categories": 4}
MLP = {"kind": "mlp", "hidden": [12]}
CONV = {"kind": "conv", "channels": [3, 4], "hidden": 8}


@functools.cache
def digits():
    return load(config.RunConfig().data)


def tiny_config(latent=BITS, network=MLP, *, optimizer=None, **training):
    """A run on the digits, 22 steps an epoch, whose log, validation and checkpoints fall on different steps.

    With one thread: how many are the fastest depends on what else the machine does.
    """
    loop = {"num_steps": 30, "batch_size": 64, "log_every": 5, "evaluate_every": 6, "checkpoint_every": 9}
    loop |= {"num_threads": 1, **training}
    return config.parse(
        {
            "name": "tiny",
            "latent": latent,
            "network": network,
            "relaxation_temperature": {"kind": "exponential", "rate": 1e-2},
            "optimizer": optimizer or {},
            "training": loop,
        }
    )


class StopAt(threading.Event):
    """An event that is set once `trainer` has taken `step` steps, as a signal arriving in that step would."""

    def __init__(self, trainer, step):
        super().__init__()
        self._trainer = trainer
        self._step = step

    def is_set(self):
        return self._trainer.step >= self._step


def train(settings, folder, *, dataset=None, interrupted_at=()):
    """Train to the end, each interruption continued by a trainer that knows nothing but the folder; the last one."""
    folder.mkdir(exist_ok=True)
    dataset = digits() if dataset is None else dataset
    for step in interrupted_at:
        trainer = Trainer(settings, dataset, folder, device=CPU)
        trainer.resume()
        assert not trainer.fit(StopAt(trainer, step))
        assert trainer.step == step
    trainer = Trainer(settings, dataset, folder, device=CPU)
    if interrupted_at:
        trainer.resume()
    assert trainer.fit()
    return trainer


def newest(folder):
    return checkpoint.load(checkpoint.checkpoints(folder)[-1], device=CPU)


def assert_same_run(one, other):
    """Bit for bit: weights, optimiser, noise to come, sums not yet logged, and every byte of the log."""
    assert_identical(*({**vars(newest(folder)), "seconds": None} for folder in (one, other)))
    assert (one / METRICS_FILE).read_bytes() == (other / METRICS_FILE).read_bytes()


def assert_identical(one, other, where="checkpoint"):
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_identical(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for position, pair in enumerate(zip(one, other, strict=True)):
            assert_identical(*pair, f"{where}[{position}]")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), where
    else:
        assert one == other, where
