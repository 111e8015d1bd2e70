"""What is done twice a second, beside all requests: the worker's line on the board, counting, looking at itself.

Loads, refusals and unloads of versions are counted here too, from what the catalog was and is, by the one worker that
looks at the repositories: so each counts once, and a thread that loads a model writes to no shared memory.
"""

import asyncio
import logging
import os
import time
from pathlib import Path

from service.parts import Parts

INTERVAL_SECONDS = 0.5
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_OVERLOADED = ("overloaded",)

_logger = logging.getLogger(__name__)


class Upkeep:
    """Of one worker."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._num_overloads = 0.0
        self._served: dict[tuple[str, int], str] = {}
        self._refused: set[tuple[str, int, str]] = set()

    async def run(self) -> None:
        """For as long as the service runs."""
        while True:
            try:
                self.once()
            except Exception:  # requests must be answered whatever is wrong with what watches them
                _logger.exception("upkeep failed; this is a bug")
            await asyncio.sleep(INTERVAL_SECONDS)

    def once(self) -> None:
        """All of it."""
        parts = self._parts
        parts.membership.pen.models_ready(parts.catalog.readiness().ready)
        parts.usage.flush()
        parts.usage.look_at_margins()
        self._note_queue()
        self._note_process()
        if parts.membership.slot == 0:
            self._note_models()

    def _note_models(self) -> None:
        """What came and went since the last look; an engine of another manifest is another model."""
        parts = self._parts
        catalog, loads = parts.catalog, parts.metrics.loads
        served = {(engine.manifest.name, engine.manifest.version): engine.manifest_sha256 for engine in catalog.engines}
        refused = {
            (refusal.name, refusal.version, refusal.reason) for refusal in catalog.refusals() if refusal.is_final
        }
        for key, digest in served.items():
            if self._served.get(key) != digest:
                loads.add((key[0], "loaded"))
        for name, _ in self._served.keys() - served.keys():
            loads.add((name, "unloaded"))
        for name, _, _ in refused - self._refused:
            loads.add((name, "refused"))
        self._served, self._refused = served, refused

    def _note_queue(self) -> None:
        """Saturated is a queue that has turned somebody away since the last look, and has each time since it began."""
        parts = self._parts
        pen = parts.membership.pen
        pen.queued_rows(parts.dispatcher.num_queued_rows)
        num_overloads = parts.metrics.rejected.value(_OVERLOADED)
        is_saturated = num_overloads > self._num_overloads
        self._num_overloads = num_overloads
        line = parts.membership.board.line(parts.membership.place)
        if is_saturated != bool(line.saturated_since_ns):
            pen.saturated_since(time.monotonic_ns() if is_saturated else 0)

    def _note_process(self) -> None:
        slot = (str(self._parts.membership.slot),)
        try:
            resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
            num_descriptors = len(list(Path("/proc/self/fd").iterdir()))
        except OSError:  # only Linux has these
            return
        self._parts.metrics.memory.set(slot, resident)
        self._parts.metrics.descriptors.set(slot, num_descriptors)
