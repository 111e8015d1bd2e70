"""Times training against a plain PyTorch loop in the same run, and compares what both learn.

    python benchmarks/training/run.py --device cpu --out benchmarks/training/cpu.json
    python benchmarks/training/run.py --device cuda --out benchmarks/training/cuda.json
    python benchmarks/training/run.py --device cpu --smoke --out /tmp/smoke.json      seconds; the numbers mean nothing

Contestants take turns, a block of steps each, so that whatever else the machine does falls on all of them; a number is
the median over blocks. The floor is what the operations and bytes of a step would take at the rates this device reached
in a large product and a large copy, measured in the same run. `--data FOLDER` holds the fixed binarisation of MNIST;
without it rows are random bits, of the same size and cost, and the comparison of what is learned uses them too.
"""

import argparse
import datetime
import json
import logging
import math
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import contestants
import floors
import torch
from contestants import FastRun
from workloads import BATCH_SIZE, CATEGORICAL, LINEAR, Workload, rows_of

from training.data import Dataset
from training.schedules import value
from training.threads import num_cores

BARS = {
    ("cpu", LINEAR.name): 2.0,
    ("cuda", LINEAR.name): 10.0,
    ("cuda", CATEGORICAL.name): 8.0,
}
"""How many times the plain loop's steps a second are asked for."""
NUM_SEEDS_AT_ONCE = 16
MAX_TIME_AT_ONCE = 2.0
QUALITY_SEEDS = 5
_HOPELESS = 8.0
"""Two threads on two CPU cores that others use can be that many times slower than one: then a few blocks will do."""


class Budget:
    """How much is measured."""

    def __init__(self, device: str, *, quick: bool, smoke: bool) -> None:
        on_cpu = device == "cpu"
        self.repetitions = 2 if smoke else 7 if quick else 15
        self.block = 3 if smoke else (40 if on_cpu else 500)
        self.quality_steps = 5 if smoke else (500 if quick else 2_000) if on_cpu else 10_000
        self.quality_seeds = 2 if smoke else QUALITY_SEEDS
        self.warm_up = 4 if smoke else max(10, self.block // 2)
        self.is_smoke = smoke
        self.patience = _HOPELESS if on_cpu else math.inf
        self._compiles = not (smoke or quick)
        self.floor_size = 256 if smoke else (2_048 if on_cpu else 8_192)
        self.floor_bytes = 1 << (20 if smoke else 28)

    def compiled(self, workload: Workload, num_threads: int) -> list[tuple[int, str]]:
        """CPU threads and precision of the compiled contestants."""
        if not self._compiles:
            return []
        if workload is not LINEAR:
            return [(num_threads, precision) for precision in ("float32", "bfloat16")]
        return [(count, precision) for count in sorted({1, num_threads}) for precision in ("float32", "bfloat16")]


def main() -> int:
    """Measure, print the tables, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", metavar="FOLDER", help="the fixed binarisation of MNIST")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions and steps")
    parser.add_argument("--smoke", action="store_true", help="only whether it runs")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    device = torch.device(options.device)
    budget = Budget(options.device, quick=options.quick, smoke=options.smoke)
    dataset, rows = rows_of(options.data)
    started = time.monotonic()
    result: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(device),
        "load_average_at_start": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "rows": rows,
        "smoke": options.smoke,
        "batch_size": BATCH_SIZE,
        "repetitions": budget.repetitions,
        "steps_a_block": budget.block,
        "workloads": {},
    }
    if options.device == "cpu":
        torch.set_num_threads(num_cores())
    peaks = {
        "operations_per_second": floors.operations_per_second(device, size=budget.floor_size),
        "bytes_per_second": floors.bytes_per_second(device, size=budget.floor_bytes),
    }
    result["peaks"] = peaks
    for workload in (LINEAR, CATEGORICAL):
        result["workloads"][workload.name] = timings(workload, dataset, device, budget, peaks)
        write(options.out, result)
    if options.device == "cuda" or options.smoke:
        result["seeds_at_once"] = seeds_at_once(dataset, device, budget)
        write(options.out, result)
    result["quality"] = quality(dataset, device, budget)
    result["seconds"] = round(time.monotonic() - started, 1)
    write(options.out, result)
    print(tables(result, options.device))
    print(f"written: {options.out}, in {result['seconds']:.0f} s")
    return 0


def field(workload: Workload, dataset: Dataset, device: torch.device, budget: Budget) -> dict[str, contestants.Block]:
    """Everybody who is timed, by name, the plain loops first; in a smoke run those of a GPU run on the CPU too."""
    blocks = {}
    if device.type == "cpu":
        blocks |= field_of_a_cpu(workload, dataset, device, budget)
    if device.type == "cuda" or budget.is_smoke:
        blocks |= field_of_a_gpu(workload, dataset, device, budget)
    return blocks


def field_of_a_cpu(
    workload: Workload, dataset: Dataset, device: torch.device, budget: Budget
) -> dict[str, contestants.Block]:
    blocks: dict[str, contestants.Block | None] = {}
    counts = sorted({1, num_cores()})
    for count in counts:
        for images in (True, False):
            blocks[f"plain loop from {'images' if images else 'tensors'}, {threads(count)}"] = contestants.plain(
                workload, dataset, device, num_threads=count, from_images=images
            )
    for count in counts:
        blocks[f"training, {threads(count)}"] = contestants.fast(workload, dataset, device, num_threads=count)
    for count in counts:
        blocks[f"training, bfloat16, {threads(count)}"] = contestants.fast(
            workload, dataset, device, num_threads=count, precision="bfloat16"
        )
    # Each compilation takes half a minute.
    for count, precision in budget.compiled(workload, num_cores()):
        blocks[f"training, compiled, {precision}, {threads(count)}"] = contestants.fast(
            workload, dataset, device, num_threads=count, compile=True, precision=precision
        )
    blocks["JAX, scan, its own threads"] = contestants.jax(workload, dataset, block_size=budget.block)
    return {name: block for name, block in blocks.items() if block is not None}


def field_of_a_gpu(
    workload: Workload, dataset: Dataset, device: torch.device, budget: Budget
) -> dict[str, contestants.Block]:
    blocks = {
        # One process and pinned memory, as in pytorch/examples:vae/main.py.
        "plain loop from images, 1 loader process": contestants.plain(
            workload, dataset, device, num_threads=1, num_workers=1, from_images=True
        )
    }
    for count in (0, 2):
        blocks[f"plain loop from tensors, {count} loader processes"] = contestants.plain(
            workload, dataset, device, num_threads=1, num_workers=count
        )
    blocks["training, eager"] = contestants.fast(workload, dataset, device, record=False)
    blocks["training, recorded"] = contestants.fast(workload, dataset, device)
    blocks["training, recorded, bfloat16"] = contestants.fast(workload, dataset, device, precision="bfloat16")
    for _, precision in budget.compiled(workload, 1):
        blocks[f"training, recorded, compiled, {precision}"] = contestants.fast(
            workload, dataset, device, compile=True, precision=precision
        )
    return blocks


def timings(
    workload: Workload, dataset: Dataset, device: torch.device, budget: Budget, peaks: dict[str, float]
) -> dict[str, Any]:
    """Microseconds a step of every contestant, and of the floor."""
    blocks = field(workload, dataset, device, budget)
    samples = in_turns(blocks, device, budget)
    operations, num_bytes = (
        floors.operations(workload.widths, BATCH_SIZE),
        floors.num_bytes(workload.widths, BATCH_SIZE),
    )
    floor = max(operations / peaks["operations_per_second"], num_bytes / peaks["bytes_per_second"])
    return {
        "title": workload.title,
        "num_weights": floors.num_weights(workload.widths),
        "operations_a_step": operations,
        "bytes_a_step": num_bytes,
        "floor_us": 1e6 * floor,
        "contestants": {name: spread(values) for name, values in samples.items()},
    }


def in_turns(blocks: dict[str, contestants.Block], device: torch.device, budget: Budget) -> dict[str, list[float]]:
    """Microseconds a step of each, block by block; on a CPU few blocks of one that is several times slower."""
    for block in blocks.values():
        # Compilation, recording, memory.
        block(budget.warm_up)
    samples: dict[str, list[float]] = {name: [] for name in blocks}
    for _ in range(budget.repetitions):
        fastest = min((min(values) for values in samples.values() if values), default=math.inf)
        for name, block in blocks.items():
            if samples[name] and min(samples[name]) > budget.patience * fastest:
                continue
            contestants.wait(device)
            started = time.perf_counter()
            block(budget.block)
            contestants.wait(device)
            samples[name].append(1e6 * (time.perf_counter() - started) / budget.block)
    return samples


def seeds_at_once(dataset: Dataset, device: torch.device, budget: Budget) -> dict[str, Any]:
    """A step of 16 runs together against a step of one."""
    blocks: dict[str, contestants.Block] = {
        "one": FastRun(LINEAR, dataset, device).block,
        "many": FastRun(LINEAR, dataset, device, num_runs=NUM_SEEDS_AT_ONCE).block,
    }
    samples = in_turns(blocks, device, budget)
    return {"num_runs": NUM_SEEDS_AT_ONCE, **{name: spread(values) for name, values in samples.items()}}


def quality(dataset: Dataset, device: torch.device, budget: Budget) -> dict[str, Any]:
    """Validation -ELBO of the plain loop and of `training` after as many steps, over seeds; and what each took."""
    rows = torch.from_numpy(dataset.evaluation_inputs("valid"))
    temperature = LINEAR.run().relaxation_temperature
    bounds: dict[str, list[float]] = {"plain": [], "fast": []}
    seconds = {"plain": 0.0, "fast": 0.0}
    torch.set_num_threads(1)
    for seed in range(budget.quality_seeds):
        loop = contestants.plain_loop(LINEAR, dataset, device, num_workers=0, seed=seed)
        started = time.perf_counter()
        for step in range(budget.quality_steps):
            loop.step(value(temperature, step))
        contestants.wait(device)
        seconds["plain"] += time.perf_counter() - started
        bounds["plain"].append(loop.validation(rows))
        fast = FastRun(LINEAR, dataset, device, seed=seed)
        started = time.perf_counter()
        fast.block(budget.quality_steps)
        seconds["fast"] += time.perf_counter() - started
        bounds["fast"].append(fast.validation(rows))
    errors = [statistics.stdev(values) / math.sqrt(len(values)) for values in bounds.values()]
    return {
        "workload": LINEAR.title,
        "num_steps": budget.quality_steps,
        "num_seeds": budget.quality_seeds,
        "validation_negative_elbo": bounds,
        "difference": statistics.mean(bounds["fast"]) - statistics.mean(bounds["plain"]),
        "standard_error": math.hypot(*errors),
        "training_seconds": {name: round(total, 2) for name, total in seconds.items()},
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles, and over how many blocks."""
    ordered = sorted(values)
    return {
        "num_blocks": len(ordered),
        "median_us": statistics.median(ordered),
        "lower_quartile_us": ordered[len(ordered) // 4],
        "upper_quartile_us": ordered[(3 * len(ordered)) // 4],
    }


def tables(result: dict[str, Any], device: str) -> str:
    """Markdown."""
    lines = [f"{result['machine']}; {result['date']}; {result['rows']}; medians of {result['repetitions']} blocks", ""]
    for name, timed in result["workloads"].items():
        plain = {
            rows: min(
                row["median_us"]
                for contestant, row in timed["contestants"].items()
                if contestant.startswith(f"plain loop from {rows}")
            )
            for rows in ("images", "tensors")
        }
        bar = BARS.get((device, name))
        lines += [
            f"{timed['title']}, batch {result['batch_size']}; floor {timed['floor_us']:.0f} us a step"
            + (f"; asked for: {bar:g} times the plain loop" if bar else ""),
            "",
            "| contestant | us a step | quartiles | times the plain loop from images | from tensors |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {contestant} | {row['median_us']:,.0f} | {row['lower_quartile_us']:,.0f} to "
            f"{row['upper_quartile_us']:,.0f} | {plain['images'] / row['median_us']:.2f} | "
            f"{plain['tensors'] / row['median_us']:.2f} |"
            for contestant, row in timed["contestants"].items()
        ]
        lines.append("")
    if "seeds_at_once" in result:
        at_once = result["seeds_at_once"]
        ratio = at_once["many"]["median_us"] / at_once["one"]["median_us"]
        lines += [
            f"{at_once['num_runs']} seeds at once take {ratio:.2f} times the time of one "
            f"(asked for: at most {MAX_TIME_AT_ONCE:g})",
            "",
        ]
    measured = result["quality"]
    means = {name: statistics.mean(values) for name, values in measured["validation_negative_elbo"].items()}
    holds = abs(measured["difference"]) <= 2 * measured["standard_error"]
    lines.append(
        f"validation -ELBO after {measured['num_steps']:,} steps, {measured['num_seeds']} seeds: plain "
        f"{means['plain']:.2f}, training {means['fast']:.2f}, difference {measured['difference']:+.3f} ± "
        f"{measured['standard_error']:.3f} nats: {'within' if holds else 'NOT within'} 2 standard errors"
    )
    return "\n".join(lines)


def machine(device: torch.device) -> str:
    """Processor, cores, accelerator and version, in words."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.processor())
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return f"{model}, {os.cpu_count()} cores{gpu}, torch {torch.__version__}"


def threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def write(path: Path, result: dict[str, Any]) -> None:
    """In one rename: what is measured so far is kept whatever comes after."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
