"""What a dispatcher does, told to all that counts it: the metrics, the use of codes, the statistics of the protocol."""

from typing import Any

from numpy.typing import NDArray

from models.codes import Codes
from models.manifest import Role
from service.batching import Ran
from service.engine import Engine
from service.observation.metrics import Metrics
from service.observation.usage import Counts
from service.statistics import Statistics


class Tally:
    """Watches a dispatcher, as `dispatch.Watch` says."""

    def __init__(self, metrics: Metrics, usage: Counts, statistics: Statistics) -> None:
        self._metrics = metrics
        self._usage = usage
        self._statistics = statistics

    def ran(self, engine: Engine, role: Role, ran: Ran) -> None:
        """Its rows, its time, and how long its callers waited."""
        name = engine.manifest.name
        self._metrics.batch_rows.observe((name, role), ran.num_rows)
        self._metrics.inference.observe((name, role), ran.seconds)
        for waited in ran.waited_seconds:
            self._metrics.queue_wait.observe((name,), waited)
        self._statistics.ran(engine, role, ran)

    def answered(self, engine: Engine, num_rows: int, seconds: float, *, is_error: bool) -> None:
        """For the protocol's statistics; the edge times requests for the metrics."""
        self._statistics.answered(engine, num_rows, seconds, is_error=is_error)

    def encoded(self, engine: Engine, inputs: NDArray[Any], codes: Codes, *, is_sampled: bool) -> None:
        """How many, and which."""
        self._metrics.codes.add(_version(engine), codes.size // codes.shape[-1])
        self._usage.note(engine, inputs, codes, is_sampled=is_sampled)

    def near_ties(self, engine: Engine, num_rows: int) -> None:
        """How many."""
        self._metrics.near_ties.add(_version(engine), num_rows)

    def drawn(self, engine: Engine, num_codes: int) -> None:
        """How many only: they say nothing of the inputs."""
        self._metrics.codes.add(_version(engine), num_codes)


def _version(engine: Engine) -> tuple[str, str]:
    return engine.manifest.name, str(engine.manifest.version)
