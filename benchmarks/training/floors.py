"""What a step costs at least: its operations and bytes, against what this device was measured to do."""

import time
from collections.abc import Callable
from itertools import pairwise

import torch


def operations(widths: tuple[int, ...], batch_size: int) -> int:
    """Floating-point operations of the products of a step: forward, and backward but for the gradient of the input.

    `widths` are those of the encoder, of the code, and of the decoder.
    """
    layers = list(pairwise(widths))
    return 2 * batch_size * (3 * sum(fan_in * fan_out for fan_in, fan_out in layers) - layers[0][0] * layers[0][1])


def num_weights(widths: tuple[int, ...]) -> int:
    """Weights and biases."""
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(widths))


def num_bytes(widths: tuple[int, ...], batch_size: int) -> int:
    """Bytes to read and write: weights twice (forward, backward), gradients written and read, Adam's weights and two
    moments read and written, and a batch of a byte a value.
    """
    return 4 * num_weights(widths) * (2 + 1 + 1 + 6) + batch_size * widths[0]


def operations_per_second(device: torch.device, *, size: int) -> float:
    """Of a float32 product of square matrices, the best of a few; TF32 is off."""
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    return 2 * size**3 / _best(lambda: torch.mm(a, b), device)


def bytes_per_second(device: torch.device, *, size: int) -> float:
    """Of a copy of `size` bytes within the device's memory, each byte read and written; the best of a few."""
    source = torch.empty(size, dtype=torch.uint8, device=device).zero_()
    target = torch.empty_like(source)
    return 2 * size / _best(lambda: target.copy_(source), device)


def _best(work: Callable[[], object], device: torch.device, repetitions: int = 10) -> float:
    times = []
    for _ in range(repetitions + 2):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - started)
    return min(times[2:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
