"""Changing which models are served, in every worker at once.

Whichever worker takes an administrator's request, or looks at the repositories, tells all workers, itself included, and
goes on when each has answered. A worker that starts later is told what was loaded and unloaded, and which model each
number means: files that were replaced since are not served by one worker while the others serve what they had.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread

from service.errors import LoadFailed, NotApplied, ServiceError, UnknownModel
from service.live_models import LiveModels
from service.process.control import Control

_REFUSALS: dict[str, type[ServiceError]] = {"unknown": UnknownModel, "failed": LoadFailed}
"""What a worker may answer beside having done it, and what it was there."""

_logger = logging.getLogger(__name__)


class ModelControl:
    """Loads, unloads and refreshes models in all workers; each does one thing at a time, in the order of telling."""

    def __init__(self, live_models: LiveModels, control: Control) -> None:
        """Registers what this worker does when it is told."""
        self._live_models = live_models
        self._control = control
        self._one_at_a_time = asyncio.Lock()
        control.handle("load", self._told(lambda arguments: live_models.load(arguments["model"])))
        control.handle("unload", self._told(lambda arguments: live_models.unload(arguments["model"])))
        control.handle("refresh", self._told(lambda arguments: live_models.refresh(arguments["model"])))
        control.handle("pin", self._told(lambda arguments: live_models.pin(arguments["digests"])))

    async def load(self, name: str) -> None:
        """As `LiveModels.load`, in all workers. Raises what it raises, and NotApplied."""
        await self._tell("load", name, remember=True)

    async def unload(self, name: str) -> None:
        """As `LiveModels.unload`, in all workers. Raises what it raises, and NotApplied."""
        await self._tell("unload", name, remember=True)

    async def refresh(self, name: str) -> None:
        """As `LiveModels.refresh`, in all workers. Raises NotApplied."""
        await self._tell("refresh", name, remember=False)

    async def pin(self) -> None:
        """Have all workers, and those that start later, serve the very models that this one serves."""
        await self._control.tell_all("pin", {"digests": self._live_models.digests()}, remember_as="digests")

    async def poll(self, seconds: float) -> None:
        """Look at the repositories every so often, and refresh what has changed, for as long as this runs."""
        while True:
            await asyncio.sleep(seconds)
            try:
                for name in await anyio.to_thread.run_sync(self._live_models.changed):
                    await self.refresh(name)
            except NotApplied as error:
                _logger.warning("the model repositories have changed; %s", error)
            except Exception:  # what is served must be served on, and looked after again
                _logger.exception("the model repositories could not be looked at; this is a bug")

    async def _tell(self, what: str, name: str, *, remember: bool) -> None:
        remember_as = f"model {name}" if remember else None
        answers = await self._control.tell_all(what, {"model": name}, remember_as=remember_as)
        await self.pin()
        missing = [f"worker {answer.slot}: {answer.error}" for answer in answers if answer.error is not None]
        if missing:
            raise NotApplied(f"not every worker has done it; {'; '.join(missing)}")
        for kind, error in _REFUSALS.items():
            for answer in answers:
                if kind in answer.result:
                    raise error(answer.result[kind])

    def _told(self, work: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]:
        async def do(arguments: dict[str, Any]) -> dict[str, Any]:
            async with self._one_at_a_time:
                try:
                    await anyio.to_thread.run_sync(work, arguments)
                except UnknownModel as error:
                    return {"unknown": str(error)}
                except LoadFailed as error:
                    return {"failed": str(error)}
            return {}

        return do
