"""What a dispatcher does, told to everything that counts it: the metrics and the protocol's statistics."""

from models.manifest import Role
from service.batching import Ran
from service.engine import Engine
from service.observation.metrics import Metrics
from service.statistics import Statistics


class Runs:
    """Watches a dispatcher."""

    def __init__(self, metrics: Metrics, statistics: Statistics) -> None:
        self._metrics = metrics
        self._statistics = statistics

    def ran(self, engine: Engine, role: Role, ran: Ran) -> None:
        """As `dispatch.Watch` says."""
        name = engine.manifest.name
        self._metrics.batch_rows.observe((name, role), ran.num_rows)
        self._metrics.inference.observe((name, role), ran.seconds)
        for waited in ran.waited_seconds:
            self._metrics.queue_wait.observe((name,), waited)
        self._statistics.ran(engine, role, ran)

    def answered(self, engine: Engine, num_rows: int, seconds: float, *, is_error: bool) -> None:
        """As `dispatch.Watch` says."""
        self._statistics.answered(engine, num_rows, seconds, is_error=is_error)
