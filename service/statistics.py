"""What was done for each version of each model since the service started, counted where the work is done.

The numbers are those of the Open Inference Protocol's statistics extension; requests of `/v1` count as those of `/v2`
do. They lie in named blocks of numbers that this worker alone writes and that all read, so that whichever worker is
asked answers for all, and for those that have ended.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from models.manifest import Role
from service.batching import Ran
from service.engine import Engine


class Numbers(Protocol):
    """A block of numbers: a list, or memory that workers share."""

    def __getitem__(self, index: int, /) -> float: ...

    def __setitem__(self, index: int, number: float, /) -> None: ...


Key = tuple[str, int]
"""Name and version of a model."""

_MODEL, _BATCH = "model_statistics", "batch_statistics"
_FIELDS = (
    *("last_inference_ms", "inference_count"),
    *("success_count", "success_ns", "fail_count", "fail_ns", "queue_count", "queue_ns"),
)
_LAST, _INFERENCES, _SUCCESSES, _SUCCESS_NS, _FAILURES, _FAILURE_NS, _WAITS, _WAIT_NS = range(len(_FIELDS))


@dataclass(frozen=True)
class Duration:
    """How often something was done, and how long it took in all."""

    count: int = 0
    ns: int = 0


_NEVER = Duration()


@dataclass
class ModelStatistics:
    """Of one version, in all workers."""

    last_inference_ms: int = 0
    """Of the last request, in milliseconds since 1970; 0 when there was none."""
    inference_count: int = 0
    """Rows, times samples, of the requests that were answered."""
    success: Duration = _NEVER
    fail: Duration = _NEVER
    """Of requests that were sound: those turned away, those too late, and those whose run failed."""
    queue: Duration = _NEVER
    """From asking for a run to its beginning."""
    runs: dict[int, Duration] = field(default_factory=dict)
    """Of graphs, by the number of rows in the run."""


class Statistics:
    """Watches a dispatcher, and says what it and those of other workers have done."""

    def __init__(
        self, block: Callable[[str, int], Numbers], blocks: Callable[[], Iterable[tuple[str, Numbers]]]
    ) -> None:
        """`block` finds this worker's block of a name, of zeros when it is new; `blocks` are those of all workers."""
        self._block = block
        self._blocks = blocks
        self._of_models: dict[Key, Numbers] = {}
        self._of_batches: dict[tuple[str, int, int], Numbers] = {}

    def ran(self, engine: Engine, role: Role, ran: Ran) -> None:  # noqa: ARG002  # all graphs are the model
        """As `dispatch.Watch` says."""
        name, version = engine.manifest.name, engine.manifest.version
        batch = self._of_batches.get((name, version, ran.num_rows))
        if batch is None:
            batch = self._block(json.dumps([_BATCH, name, version, ran.num_rows]), 2)
            self._of_batches[name, version, ran.num_rows] = batch
        batch[0] += 1
        batch[1] += ran.seconds * 1e9
        numbers = self._of_model((name, version))
        numbers[_WAITS] += len(ran.waited_seconds)
        numbers[_WAIT_NS] += sum(ran.waited_seconds) * 1e9

    def answered(self, engine: Engine, num_rows: int, seconds: float, *, is_error: bool) -> None:
        """As `dispatch.Watch` says."""
        numbers = self._of_model((engine.manifest.name, engine.manifest.version))
        numbers[_LAST] = time.time() * 1e3
        if is_error:
            numbers[_FAILURES] += 1
            numbers[_FAILURE_NS] += seconds * 1e9
        else:
            numbers[_INFERENCES] += num_rows
            numbers[_SUCCESSES] += 1
            numbers[_SUCCESS_NS] += seconds * 1e9

    def totals(self) -> dict[Key, ModelStatistics]:
        """Of every version that was ever asked for, over all workers."""
        totals: dict[Key, ModelStatistics] = {}
        for text, numbers in self._blocks():
            if not text.startswith((f'["{_MODEL}"', f'["{_BATCH}"')):
                continue
            _, name, version, *num_rows = json.loads(text)
            found = totals.setdefault((name, version), ModelStatistics())
            if num_rows:
                found.runs[num_rows[0]] = _sum(found.runs.get(num_rows[0], _NEVER), numbers[0], numbers[1])
                continue
            found.last_inference_ms = max(found.last_inference_ms, int(numbers[_LAST]))
            found.inference_count += int(numbers[_INFERENCES])
            found.success = _sum(found.success, numbers[_SUCCESSES], numbers[_SUCCESS_NS])
            found.fail = _sum(found.fail, numbers[_FAILURES], numbers[_FAILURE_NS])
            found.queue = _sum(found.queue, numbers[_WAITS], numbers[_WAIT_NS])
        return totals

    def _of_model(self, key: Key) -> Numbers:
        numbers = self._of_models.get(key)
        if numbers is None:
            numbers = self._of_models[key] = self._block(json.dumps([_MODEL, *key]), len(_FIELDS))
        return numbers


def _sum(duration: Duration, count: float, ns: float) -> Duration:
    return Duration(duration.count + int(count), duration.ns + int(ns))
