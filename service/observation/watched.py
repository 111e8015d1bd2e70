"""The dispatcher with somebody watching: it counts the codes that are made."""

from typing import Any

from numpy.typing import NDArray

from service.dispatch import Dispatcher
from service.engine import Engine
from service.observation.metrics import Metrics
from service.observation.usage import Counts
from service.results import Encoding, Generation, Reconstruction


class WatchedDispatcher(Dispatcher):
    """Does what Dispatcher does."""

    def __init__(self, *args: Any, metrics: Metrics, usage: Counts, **options: Any) -> None:
        super().__init__(*args, **options)
        self._metrics = metrics
        self._usage = usage

    async def encode(self, engine: Engine, inputs: NDArray[Any], **parameters: Any) -> Encoding:
        """As Dispatcher's."""
        encoding = await super().encode(engine, inputs, **parameters)
        self._note(engine, inputs, encoding)
        return encoding

    async def reconstruct(self, engine: Engine, inputs: NDArray[Any], **parameters: Any) -> Reconstruction:
        """As Dispatcher's."""
        reconstruction = await super().reconstruct(engine, inputs, **parameters)
        self._note(engine, inputs, reconstruction.encoding)
        return reconstruction

    async def generate(self, engine: Engine, num_codes: int = 1, **parameters: Any) -> Generation:
        """As Dispatcher's. Codes drawn from the prior say nothing of the inputs: they are only counted."""
        generation = await super().generate(engine, num_codes, **parameters)
        self._metrics.codes.add(_version(engine), num_codes)
        return generation

    def _note(self, engine: Engine, inputs: NDArray[Any], encoding: Encoding) -> None:
        if (codes := encoding.codes) is not None:
            self._metrics.codes.add(_version(engine), codes.size // codes.shape[-1])
            self._usage.note(engine, inputs, codes)


def _version(engine: Engine) -> tuple[str, str]:
    return engine.manifest.name, str(engine.manifest.version)
