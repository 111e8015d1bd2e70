"""The metrics of the service: every family there is, and what counts them. docs/operations.md says how to read them."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from service.catalog import Catalog
from service.observation.arena import Arena
from service.observation.families import Family, Meter, Sample, exposition, totals
from service.process.board import Phase
from service.process.membership import Membership

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)

_REQUEST = ("route", "model", "method", "status")
DURATION = Family(
    "http_request_duration_seconds", "histogram", "From a request's head to the end of its reply.", _REQUEST, _SECONDS
)
REQUESTS = Family("http_requests_total", "counter", "Requests answered.", _REQUEST)
IN_FLIGHT = Family("http_requests_in_flight", "gauge", "Requests that are being answered.")
REJECTED = Family("rejected_total", "counter", "Requests refused, by cause.", ("cause",))
BATCH_ROWS = Family("batch_rows", "histogram", "Rows in one run of a graph.", ("model", "graph"), _ROWS)
INFERENCE = Family("inference_seconds", "histogram", "Time of one run of a graph.", ("model", "graph"), _SECONDS)
QUEUE_WAIT = Family(
    "queue_wait_seconds", "histogram", "From a request for a run to its beginning.", ("model",), _SECONDS
)
CODES = Family("codes_total", "counter", "Codes made of inputs or drawn from the prior.", ("model", "version"))
NEAR_TIES = Family(
    "near_ties_total", "counter", "Codes decided by less than the margin, of requests that asked.", ("model", "version")
)
LOADS = Family("model_load_events_total", "counter", "Versions loaded, refused, unloaded.", ("model", "event"))
MEMORY = Family("worker_resident_memory_bytes", "gauge", "Resident memory of a worker.", ("worker",))
DESCRIPTORS = Family("worker_open_fds", "gauge", "Open file descriptors of a worker.", ("worker",))
_COUNTED = (
    DURATION,
    IN_FLIGHT,
    REJECTED,
    BATCH_ROWS,
    INFERENCE,
    QUEUE_WAIT,
    CODES,
    NEAR_TIES,
    LOADS,
    MEMORY,
    DESCRIPTORS,
)

QUEUE_ROWS = Family("queue_rows", "gauge", "Rows admitted and not answered yet.")
WORKERS = Family("workers", "gauge", "Worker processes, by phase.", ("phase",))
DEATHS = Family("worker_deaths_total", "counter", "Worker processes that ended without being told to.")
READY = Family("ready", "gauge", "1 while the service is ready, as /v2/health/ready says.")
MODEL_INFO = Family(
    "model_info", "gauge", "1 for each version served.", ("model", "version", "kind", "provider", "manifest_sha256")
)


class Metrics:
    """What one worker counts, and what all have counted."""

    def __init__(self, membership: Membership, arena: Arena) -> None:
        self._membership = membership
        self._arena = arena
        region = arena.region(membership.place)
        # What the last worker at this place had under way went with it.
        for key, block in arena.blocks(membership.place):
            if any(key.startswith(f'["{family.name}"') for family in _COUNTED if family.kind == "gauge"):
                block[0] = 0.0
        self.duration = Meter(DURATION, region)
        self.in_flight = Meter(IN_FLIGHT, region)
        self.rejected = Meter(REJECTED, region)
        self.batch_rows = Meter(BATCH_ROWS, region)
        self.inference = Meter(INFERENCE, region)
        self.queue_wait = Meter(QUEUE_WAIT, region)
        self.codes = Meter(CODES, region)
        self.near_ties = Meter(NEAR_TIES, region)
        self.loads = Meter(LOADS, region)
        self.memory = Meter(MEMORY, region)
        self.descriptors = Meter(DESCRIPTORS, region)
        self.region = region

    def exposition(self, catalog: Catalog, *, ready: bool, more: Iterable[tuple[Family, list[Sample]]] = ()) -> bytes:
        """Prometheus' text. Reads the memory of all workers: some milliseconds, to be done beside the event loop."""
        board = self._membership.board
        everyone = range(board.num_places)
        alive = [place for place in everyone if board.line(place).phase is not Phase.ABSENT]
        lines: list[str] = []
        for family in _COUNTED:
            samples = totals(family, self._arena, alive if family.kind == "gauge" else everyone)
            lines += exposition(family, samples)
            if family is DURATION:
                lines += exposition(REQUESTS, [Sample(each.labels, [sum(each.numbers[:-1])]) for each in samples])
        found = board.lines()
        phases = [(phase.name.lower(), sum(line.phase is phase for line in found)) for phase in Phase if phase]
        lines += exposition(QUEUE_ROWS, [Sample((), [sum(line.queued_rows for line in found)])])
        lines += exposition(WORKERS, [Sample((name,), [count]) for name, count in phases])
        lines += exposition(DEATHS, [Sample((), [board.num_deaths])])
        lines += exposition(READY, [Sample((), [ready])])
        lines += exposition(MODEL_INFO, [Sample(_info(engine), [1]) for engine in catalog.engines])
        for family, samples in more:
            lines += exposition(family, samples)
        return ("\n".join(lines) + "\n").encode()


def _info(engine: Any) -> tuple[str, ...]:
    manifest = engine.manifest
    return (manifest.name, str(manifest.version), manifest.kind, engine.provider, engine.manifest_sha256)


@lru_cache(1024)
def template_of(path: str) -> tuple[str, str]:
    """Route and model of a path that names a model: `/v1/models/{model}/encode`, `mnist-binary`."""
    parts = path.split("/")
    model, parts[3] = parts[3], "{model}"
    if len(parts) > 5 and parts[4] == "versions":
        parts[5] = "{version}"
    return "/".join(parts), model
