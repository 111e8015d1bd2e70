"""Families of metrics: counters, gauges and histograms with labels, and Prometheus' text of what all workers counted.

`prometheus_client` does the same with a file for each process; an observation costs several microseconds there, under a
lock. Here it is an addition in shared memory, a request has five of them, and fifteen microseconds are all it may cost.
"""

import json
import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from service.observation.arena import Arena, Region

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]

PREFIX = "latent_codes_"


class Family(NamedTuple):
    """What a metric is."""

    name: str
    """Without the prefix; counters end in _total."""
    kind: Kind
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()
    """Of a histogram's buckets, ascending, without infinity."""

    @property
    def num_numbers(self) -> int:
        """In a block: the number; of a histogram a count for each bucket, the last being infinity, and the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


class Meter:
    """Counts for one family, in one worker."""

    def __init__(self, family: Family, region: Region) -> None:
        self.family = family
        self._region = region
        self._blocks: dict[Labels, memoryview[float]] = {}
        self._last = family.num_numbers - 1

    def add(self, labels: Labels = (), amount: float = 1.0) -> None:
        """Of a counter or a gauge: one more, or `amount`."""
        block = self._blocks.get(labels) or self._open(labels)
        block[0] += amount

    def set(self, labels: Labels, value: float) -> None:
        """Of a gauge."""
        block = self._blocks.get(labels) or self._open(labels)
        block[0] = value

    def value(self, labels: Labels = ()) -> float:
        """Of a counter or a gauge: what this worker, and those before it at its place, counted."""
        return (self._blocks.get(labels) or self._open(labels))[0]

    def observe(self, labels: Labels, value: float) -> None:
        """Of a histogram."""
        block = self._blocks.get(labels) or self._open(labels)
        block[bisect_left(self.family.bounds, value)] += 1
        block[self._last] += value

    def _open(self, labels: Labels) -> "memoryview[float]":
        block = self._region.block(json.dumps([self.family.name, *labels]), self.family.num_numbers)
        self._blocks[labels] = block
        return block


class Sample(NamedTuple):
    """The numbers of one set of labels, of all workers together."""

    labels: Labels
    numbers: Sequence[float]


def totals(family: Family, arena: Arena, places: Iterable[int]) -> list[Sample]:
    """What the workers at these places counted, added up, by labels."""
    sums: dict[Labels, list[float]] = defaultdict(lambda: [0.0] * family.num_numbers)
    for place in places:
        for key, block in arena.blocks(place):
            if not key.startswith(f'["{family.name}"'):
                continue
            name, *labels = json.loads(key)
            if name == family.name and len(block) == family.num_numbers:
                total = sums[tuple(labels)]
                for index, number in enumerate(block):
                    total[index] += number
    return [Sample(labels, numbers) for labels, numbers in sorted(sums.items())]


def exposition(family: Family, samples: Iterable[Sample]) -> Iterator[str]:
    """Lines of Prometheus' text format, version 0.0.4."""
    name = PREFIX + family.name
    yield f"# HELP {name} {family.help}"
    yield f"# TYPE {name} {family.kind}"
    for sample in samples:
        if family.kind != "histogram":
            yield f"{name}{_labels(family.labels, sample.labels)} {_number(sample.numbers[0])}"
            continue
        *counts, total = sample.numbers
        cumulative = 0.0
        for bound, count in zip((*family.bounds, math.inf), counts, strict=True):
            cumulative += count
            labels = _labels((*family.labels, "le"), (*sample.labels, _number(bound)))
            yield f"{name}_bucket{labels} {_number(cumulative)}"
        yield f"{name}_sum{_labels(family.labels, sample.labels)} {_number(total)}"
        yield f"{name}_count{_labels(family.labels, sample.labels)} {_number(cumulative)}"


def _labels(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1 << 53 else repr(value)
