"""How many CPU threads to train with: measured, because it depends on the model, the machine and who else uses it.

On two cores that others used too, a step of a small model took 26 times as long with two threads as with one.
"""

import dataclasses
import logging
import os
import time

import torch

from training.batches import TrainingBatches
from training.config import RunConfig
from training.data import Dataset
from training.ranks import ALONE, Ranks
from training.runs import build_model
from training.step import StepProgram

logger = logging.getLogger(__name__)

_NUM_ROUNDS = 3
_STEPS_A_ROUND = 4
_WORTH_IT = 0.9
"""More threads are taken when a step needs at most this share of the time: they also keep others from working."""


def settled(config: RunConfig, dataset: Dataset, *, device: torch.device, ranks: Ranks = ALONE) -> RunConfig:
    """The configuration with a number of CPU threads in the place of "auto": the fastest, by a few real steps.

    The steps are those of a model of its own, so that nothing of the run is used up. On a GPU it is 1. Ranks of one
    host measure at the same time, as they will train, and share out its cores; the first decides. Raises ConfigError
    when the configuration does not fit the data.
    """
    if config.training.num_threads != "auto":
        return config
    if device.type != "cpu":
        return _with_threads(config, 1)
    times = measure(config, dataset, _counts(max(1, num_cores() // ranks.local_size)))
    in_words = ", ".join(f"{count}: {1e3 * seconds:.1f} ms a step" for count, seconds in times.items())
    chosen = ranks.from_first(fastest(times))
    logger.info("CPU threads: %d (measured %s)", chosen, in_words)
    return _with_threads(config, chosen)


def fastest(times: dict[int, float]) -> int:
    """The number of threads to take, given seconds a step by number: the fewest that are not clearly slower."""
    best = min(times)
    for count in sorted(times):
        if times[count] <= _WORTH_IT * times[best]:
            best = count
    return best


def measure(config: RunConfig, dataset: Dataset, counts: list[int]) -> dict[int, float]:
    """Seconds a step by number of threads, the least of a few rounds; the number that is set stays set."""
    before = torch.get_num_threads()
    settings = dataclasses.replace(config.training, num_threads=1, compile=False)
    program = _program(dataclasses.replace(config, training=settings), dataset)
    times: dict[int, float] = {}
    step = 0
    try:
        for _ in range(_NUM_ROUNDS):
            for count in counts:
                if times and times.get(count, 0) > 2 * min(times.values()):
                    continue
                torch.set_num_threads(count)
                elapsed = []
                for _ in range(_STEPS_A_ROUND):
                    program.prepare(step)
                    started = time.perf_counter()
                    program()
                    elapsed.append(time.perf_counter() - started)
                    step += 1
                times[count] = min(times.get(count, float("inf")), *elapsed)
    finally:
        torch.set_num_threads(before)
    return times


def _program(config: RunConfig, dataset: Dataset) -> StepProgram:
    device = torch.device("cpu")
    batches = TrainingBatches(
        dataset,
        batch_size=min(config.training.batch_size, len(dataset.splits["train"])),
        seed=config.training.seed,
        device=device,
        placement="resident",
    )
    return StepProgram(config, build_model(config, dataset), batches)


def _counts(num_cores: int) -> list[int]:
    """1, 2, 4 and so on, and the number of cores."""
    counts = [1]
    while counts[-1] * 2 <= num_cores:
        counts.append(counts[-1] * 2)
    return counts if counts[-1] == num_cores else [*counts, num_cores]


def num_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _with_threads(config: RunConfig, count: int) -> RunConfig:
    return dataclasses.replace(config, training=dataclasses.replace(config.training, num_threads=count))
