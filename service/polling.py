"""Looking for new models, every so often, beside the event loop."""

import logging

import anyio
import anyio.to_thread

from service.live_models import LiveModels

_logger = logging.getLogger(__name__)


async def poll(live_models: LiveModels, seconds: float) -> None:
    """Refresh what has changed on disk, for as long as this runs. A look at what has not reads no file."""
    one_at_a_time = anyio.CapacityLimiter(1)
    while True:
        await anyio.sleep(seconds)
        try:
            for name in await anyio.to_thread.run_sync(live_models.changed, limiter=one_at_a_time):
                await anyio.to_thread.run_sync(live_models.refresh, name, limiter=one_at_a_time)
        except Exception:  # what is served must be served on, and looked after again
            _logger.exception("the model repositories could not be looked at; this is a bug")
