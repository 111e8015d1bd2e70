"""What a number of rows costs, from measured rates and a price.

    python benchmarks/capacity.py --rows 1e9 --core-hour 0.04 --gpu-hour 3.50

Rates are read from the JSON that the benchmarks wrote, `benchmarks/bulk/results.json` unless told otherwise, and each
line says where its own comes from. There are no prices in here: give your own, in any currency.

    core hours = rows / (rows a second a core) / 3600        cost = core hours * price of a core hour
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parent / "bulk" / "results.json"
_SECONDS_AN_HOUR = 3600


class Rate(NamedTuple):
    """Rows a second that one core, or one GPU, was measured to encode; None where it was not measured."""

    model: str
    source: str
    device: str
    rows_per_second: float | None
    is_gpu: bool = False


def core_rates(results: Path) -> list[Rate]:
    """What one core does in a job of the benchmark, for each of its models and sources: the best of its workers."""
    report = json.loads(results.read_text(encoding="utf-8"))
    best: dict[tuple[str, str], float] = {}
    for model, measured in report["models"].items():
        for job in measured["jobs"]:
            key = model, job["source"]
            best[key] = max(best.get(key, 0.0), job["rows_per_second"] / max(1, job["workers"]))
    return [
        Rate(model, source, f"a core of {report['machine']['cpu']}", rate) for (model, source), rate in best.items()
    ]


def hours(num_rows: float, rate: Rate) -> float | None:
    """Hours of one such device for so many rows."""
    return None if rate.rows_per_second is None else num_rows / rate.rows_per_second / _SECONDS_AN_HOUR


def table(num_rows: float, rates: list[Rate], *, core_hour: float | None, gpu_hour: float | None) -> str:
    """Markdown: a line a rate, with its cost where there is a price."""
    lines = [
        f"| model | source | on | rows a second | hours for {num_rows:,.0f} rows | cost |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for rate in rates:
        needed = hours(num_rows, rate)
        price = gpu_hour if rate.is_gpu else core_hour
        if rate.rows_per_second is None or needed is None:
            measured, took, cost = "not measured", "not measured", "not measured"
        else:
            measured, took = f"{rate.rows_per_second:,.0f}", f"{needed:,.1f}"
            cost = "give a price" if price is None else f"{needed * price:,.2f}"
        lines.append(f"| `{rate.model}` | {rate.source} | {rate.device} | {measured} | {took} | {cost} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON of benchmarks/bulk/run.py")
    parser.add_argument("--rows", type=float, default=1e9, help="default: a billion")
    parser.add_argument("--core-hour", type=float, help="price of a core for an hour")
    parser.add_argument("--gpu-hour", type=float, help="price of a GPU for an hour")
    parser.add_argument("--gpu-rows-per-second", type=float, help="what you measured on yours; here none was at hand")
    arguments = parser.parse_args()
    if not arguments.rows > 0:
        parser.error(f"--rows: expected more than 0, got {arguments.rows}")
    rates = core_rates(arguments.results)
    gpus = [
        Rate(model, "any", "an H200", arguments.gpu_rows_per_second, is_gpu=True)
        for model in dict.fromkeys(r.model for r in rates)
    ]
    print(table(arguments.rows, rates + gpus, core_hour=arguments.core_hour, gpu_hour=arguments.gpu_hour))


if __name__ == "__main__":
    main()
