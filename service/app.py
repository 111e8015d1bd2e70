"""The application: the one place where its parts meet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import chain

import anyio
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from service import openapi, problems
from service.admission import API_KEY, TIMEOUT, Admission
from service.catalog import Catalog
from service.dispatch import Dispatcher, DispatchLimits
from service.edge import Edge, Watch
from service.exchange import REQUEST_ID
from service.live_models import LiveModels
from service.model_control import ModelControl
from service.observation.access_log import AccessLog
from service.observation.metrics import Metrics
from service.observation.tally import Tally
from service.observation.tracing import Tracing
from service.observation.usage import Counts
from service.open_inference import framing
from service.parts import Parts
from service.process.membership import Membership
from service.routes import codes, health, models, observation, open_inference, playground, repository
from service.settings import Settings
from service.statistics import Statistics
from service.upkeep import Upkeep

DESCRIPTION = """
Inputs (vectors, images) to short discrete codes and back.

Every example below runs as it stands, with a model that this server serves. Errors are
[RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem details that name the field, what was expected and what came.
Below `/v2` the service speaks the [Open Inference Protocol](https://github.com/kserve/open-inference-protocol).
"""


def create_app(
    settings: Settings,
    catalog: Catalog | None = None,
    membership: Membership | None = None,
    tracing: Tracing | None = None,
) -> FastAPI:
    """The service over these models; by default those of the settings' repositories, loaded here, in a process that
    is the only one, with traces that go where the settings say.

    Raises StartRefused when the settings ask for what cannot be had.
    """
    live_models = LiveModels(settings, catalog)
    membership = membership or Membership.alone()
    metrics = Metrics(membership, membership.arena)
    usage = Counts(membership.arena, metrics.region, window_seconds=settings.usage_window_seconds)
    limits = DispatchLimits(
        max_batch_wait_seconds=settings.max_batch_wait_ms / 1000,
        max_queue_rows=settings.max_queue_rows,
        max_inline_seconds=settings.max_inline_ms / 1000,
    )
    arena = membership.arena
    statistics = Statistics(
        metrics.region.block, lambda: chain.from_iterable(map(arena.blocks, range(arena.num_places)))
    )
    dispatcher = Dispatcher(limits, Tally(metrics, usage, statistics))
    control = ModelControl(live_models, membership.control)
    parts = Parts(settings, live_models, control, dispatcher, membership, metrics, usage, statistics)
    admission = Admission(settings)
    watch = Watch(metrics, AccessLog(settings.access_log), tracing or Tracing.to(settings.otlp_endpoint))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            if membership.slot == 0:
                # One worker looks, and tells all.
                tasks.start_soon(control.pin)
                if settings.repository_poll_seconds:
                    tasks.start_soon(control.poll, settings.repository_poll_seconds)
            tasks.start_soon(Upkeep(parts).run)
            yield
            tasks.cancel_scope.cancel()
        watch.tracing.close()

    edge = Edge(admission, watch, [codes.DirectRoutes(parts), open_inference.DirectRoutes(parts)])
    # The documentation's scripts come from a package, not from another server: /docs works offline.
    app = FastAPIOffline(
        redoc_url=None,
        static_url="/docs-assets",
        title="Latent Codes",
        summary="Discrete latent codes over HTTP.",
        description=DESCRIPTION,
        version=version("latent-codes"),
        lifespan=lifespan,
        middleware=[*_cors(settings), Middleware(edge.around)],
    )
    app.state.parts, app.state.edge = parts, edge
    problems.install(app)
    for router in (
        playground.router(),
        codes.router(),
        models.router(),
        health.router(),
        open_inference.router(),
        repository.router(),
        observation.router(),
    ):
        app.include_router(router)
    openapi.describe(app, live_models, admission)
    return app


def _cors(settings: Settings) -> list[Middleware]:
    """None, unless pages of other origins are to ask from a browser."""
    if not settings.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", API_KEY, REQUEST_ID, TIMEOUT, framing.HEADER],
            expose_headers=[REQUEST_ID, framing.HEADER, "Retry-After"],
        )
    ]
