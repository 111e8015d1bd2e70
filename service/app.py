"""The application: the one place where its parts meet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware

from service import openapi, problems
from service.catalog import Catalog
from service.dispatch import Dispatcher, DispatchLimits
from service.edge import Edge
from service.live_models import LiveModels
from service.model_control import ModelControl
from service.parts import Parts
from service.process.membership import Membership
from service.routes import codes, health, models, open_inference, playground
from service.settings import Settings

DESCRIPTION = """
Inputs (vectors, images) to short discrete codes and back.

Every example below runs as it stands, with a model that this server serves. Errors are
[RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem details that name the field, what was expected and what came.
Below `/v2` the service speaks the [Open Inference Protocol](https://github.com/kserve/open-inference-protocol).
"""


def create_app(settings: Settings, catalog: Catalog | None = None, membership: Membership | None = None) -> FastAPI:
    """The service over these models; by default those of the settings' repositories, loaded here, in a process that
    is the only one.

    Raises StartRefused when the settings ask for what cannot be had.
    """
    live_models = LiveModels(settings, catalog)
    dispatcher = Dispatcher(
        DispatchLimits(
            max_batch_wait_seconds=settings.max_batch_wait_ms / 1000,
            max_queue_rows=settings.max_queue_rows,
            max_inline_seconds=settings.max_inline_ms / 1000,
        )
    )
    membership = membership or Membership.alone()
    control = ModelControl(live_models, membership.control)
    parts = Parts(settings, live_models, control, dispatcher, membership)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            if membership.slot == 0:
                # One worker looks, and tells all.
                tasks.start_soon(control.pin)
                if settings.repository_poll_seconds:
                    tasks.start_soon(control.poll, settings.repository_poll_seconds)
            yield
            tasks.cancel_scope.cancel()

    # The documentation's scripts come from a package, not from another server: /docs works offline.
    app = FastAPIOffline(
        redoc_url=None,
        static_url="/docs-assets",
        title="Latent Codes",
        summary="Discrete latent codes over HTTP.",
        description=DESCRIPTION,
        version=version("latent-codes"),
        lifespan=lifespan,
        middleware=[Middleware(Edge, [codes.DirectRoutes(parts), open_inference.DirectRoutes(parts)])],
    )
    app.state.parts = parts
    problems.install(app)
    for router in (playground.router(), codes.router(), models.router(), health.router(), open_inference.router()):
        app.include_router(router)
    openapi.describe(app, live_models)
    return app
