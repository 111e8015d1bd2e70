"""What is done twice a second, beside all requests: the worker's line on the board, counting, looking at itself."""

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
