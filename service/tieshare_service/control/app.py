"""The control API as one ASGI app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI

from tieshare_service.control import (
    artifacts,
    datasets,
    events,
    health,
    jobs,
    metrics,
    models,
    problems,
    resumable,
)
from tieshare_service.control.access import OnlyWithKey
from tieshare_service.control.counters import Counters, CountRequests
from tieshare_service.control.openapi import describe
from tieshare_service.control.requests import only_known_parameters
from tieshare_service.control.services import started
from tieshare_service.settings import Settings

_VERSIONED = (models, datasets, resumable, jobs, events, artifacts)


def create_app(settings: Settings) -> FastAPI:
    """The app; it touches the data folder when it starts up, not before."""
    counters = Counters()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with started(settings, counters) as services:
            app.state.services = services
            yield

    app = FastAPI(
        title="tieshare control API",
        lifespan=lifespan,
        dependencies=[Depends(only_known_parameters)],
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,
    )
    v1 = APIRouter(prefix="/v1")
    for part in _VERSIONED:
        v1.include_router(part.router)
    app.include_router(v1)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.add_middleware(OnlyWithKey)
    app.add_middleware(CountRequests, counters=counters)  # the outer one: refusals count, too
    problems.install(app)
    describe(app)
    return app
