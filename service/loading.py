"""A version from disk to an engine that may be served: read, verified, opened, run against its golden vectors, warm."""

import logging

from models.errors import ModelsError
from models.repository import Repository, StoredModel
from service import golden
from service.engine import Engine
from service.errors import DeviceUnavailable, GoldenMismatch, GraphRefused, ModelRefused
from service.providers import DeviceOptions
from service.settings import Settings

_logger = logging.getLogger(__name__)

INCOMPLETE = "its files are altered, missing or contradict themselves"


def load(repository: Repository, name: str, version: int, settings: Settings) -> Engine:
    """Raises ModelsError, ModelRefused or DeviceUnavailable; the message names the file and the cause.

    What a row costs is measured here, so the first request finds everything warm.
    """
    stored = repository.read(name, version)
    engine = opened(stored, settings)
    engine.warm()
    _logger.info(
        "model %s version %d is served on %s, about %.0f microseconds a row and %.0f to generate one alone, from %s",
        name,
        version,
        engine.provider,
        engine.seconds_per_row * 1e6,
        engine.seconds_to_generate(1) * 1e6,
        stored.folder,
    )
    return engine


def opened(stored: StoredModel, settings: Settings) -> Engine:
    """The engine of a verified model, once this host has reproduced its golden vectors.

    Raises ModelRefused or DeviceUnavailable.
    """
    engine = Engine.load(
        stored,
        device=settings.device,
        num_threads=settings.intra_op_num_threads,
        max_rows_per_run=None if settings.max_batch_rows == "auto" else settings.max_batch_rows,
        options=device_options(settings),
        near_tie_margin=None if settings.near_tie_margin == "auto" else settings.near_tie_margin,
    )
    try:
        golden.check(engine)
    except GoldenMismatch as error:
        raise GoldenMismatch(f"{stored.folder}: {error}") from error
    return engine


def device_options(settings: Settings) -> DeviceOptions:
    """How a device is used, as the settings say."""
    return DeviceOptions(
        binds_io=None if settings.io_binding == "auto" else settings.io_binding,
        pads_rows=None if settings.pad_batches == "auto" else settings.pad_batches,
        memory_limit_bytes=settings.gpu_memory_limit_bytes,
        arena_extension=settings.gpu_arena_extension,
        tensorrt_cache=settings.tensorrt_cache,
    )


def log_refusal(name: str, version: int, error: Exception) -> str:
    """Log why a version that failed to load is not served, and return the reason in words that are safe to show."""
    match error:
        case GraphRefused():
            reason = "a graph is not what its manifest promises"
        case GoldenMismatch():
            reason = "its golden vectors are not reproduced here"
        case DeviceUnavailable():
            reason = "it does not run on the device that is demanded"
        case ModelsError() | ModelRefused():
            reason = INCOMPLETE
        case _:
            # Whatever is wrong with one model must not keep the others from being served.
            _logger.error("model %s version %d is not served; this is a bug", name, version, exc_info=error)
            return "it could not be loaded"
    _logger.error("model %s version %d is not served: %s", name, version, error)
    return reason
