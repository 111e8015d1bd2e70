"""Who is timed: each gives a function that takes a block of steps and returns once they are done."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from plain import ImageRows, PlainLoop
from torch.utils.data import TensorDataset
from workloads import BATCH_SIZE, LEARNING_RATE, Workload

from training.data import Dataset
from training.model import DiscreteVAE
from training.objectives import discrete_negative_elbo
from training.recording import recorded, why_not_recorded
from training.runs import build_model
from training.schedules import value
from training.stacked import StackedProgram
from training.step import StepProgram, batches_of

Block = Callable[[int], None]


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def plain_loop(
    workload: Workload,
    dataset: Dataset,
    device: torch.device,
    *,
    num_workers: int,
    from_images: bool = False,
    seed: int = 0,
) -> PlainLoop:
    """The baseline on these rows."""
    values = dataset.splits["train"].values
    return PlainLoop(
        ImageRows(values) if from_images else TensorDataset(torch.from_numpy(values).float()),
        torch.from_numpy(dataset.mean()),
        hidden=workload.hidden,
        num_latents=workload.num_latents,
        num_categories=workload.num_categories,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        device=device,
        num_workers=num_workers,
        seed=seed,
    )


def plain(
    workload: Workload,
    dataset: Dataset,
    device: torch.device,
    *,
    num_threads: int,
    num_workers: int = 0,
    from_images: bool = False,
) -> Block:
    """The plain eager loop with a DataLoader."""
    loop = plain_loop(workload, dataset, device, num_workers=num_workers, from_images=from_images)
    temperature = workload.run().relaxation_temperature

    def block(num_steps: int) -> None:
        torch.set_num_threads(num_threads)
        for _ in range(num_steps):
            loop.step(value(temperature, loop.num_steps))

    return block


class FastRun:
    """The step of `training`, taken as its trainer takes it."""

    def __init__(
        self,
        workload: Workload,
        dataset: Dataset,
        device: torch.device,
        *,
        num_threads: int = 1,
        seed: int = 0,
        num_runs: int = 1,
        **training: Any,
    ) -> None:
        torch.set_num_threads(num_threads)
        config = workload.run(seed=seed, **training)
        self.device, self.num_threads, self.step = device, num_threads, 0
        reason = why_not_recorded(device, wanted=config.training.record)
        self.program: StepProgram | StackedProgram
        if num_runs > 1:
            configs = [
                replace(config, training=replace(config.training, seed=seed + number)) for number in range(num_runs)
            ]
            self.program = StackedProgram(configs, dataset, device=device, capturable=reason is None)
        else:
            self.program = StepProgram(
                config,
                build_model(config, dataset).to(device),
                batches_of(config, dataset, device=device),
                capturable=reason is None,
            )
        self.take_step = recorded(self.program, device, reason=reason)

    @property
    def model(self) -> DiscreteVAE:
        """Of the one run."""
        if not isinstance(self.program, StepProgram):
            raise TypeError("many runs have many models")
        return self.program.model

    def block(self, num_steps: int) -> None:
        torch.set_num_threads(self.num_threads)
        for _ in range(num_steps):
            self.program.prepare(self.step)
            self.take_step()
            self.step += 1
        wait(self.device)

    def validation(self, rows: torch.Tensor) -> float:
        """-ELBO in nats a row, one discrete sample each."""
        generator = torch.Generator(self.device).manual_seed(1)
        bounds = [discrete_negative_elbo(self.model, x, generator) for x in rows.to(self.device).split(1_000)]
        return float(torch.cat(bounds).double().mean())


def fast(workload: Workload, dataset: Dataset, device: torch.device, **options: Any) -> Block:
    """A block of the step of `training`."""
    return FastRun(workload, dataset, device, **options).block


def jax(workload: Workload, dataset: Dataset, *, block_size: int) -> Block | None:
    """The same model in JAX, `block_size` steps a call; None where JAX is not installed."""
    try:
        from jax_loop import JaxLoop
    except ImportError:
        return None
    loop = JaxLoop(
        dataset.splits["train"].values,
        dataset.mean(),
        hidden=workload.hidden,
        num_latents=workload.num_latents,
        num_categories=workload.num_categories,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        block_size=block_size,
        seed=0,
    )

    def block(num_steps: int) -> None:
        for _ in range(max(1, num_steps // block_size)):
            loop.block()

    return block
