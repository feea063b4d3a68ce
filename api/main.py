"""The app: routes, error answers and what runs beside the requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from api import etags, handlers, methods, openapi
from api.headers import SecurityHeaders
from api.metrics import Measured
from api.middleware import BodyLimit, Cors, RequestContext
from api.routers import (
    audit,
    config,
    dashboard,
    health,
    job_types,
    jobs,
    logs,
    maintenance,
    schedules,
    stats,
    streams,
    system,
)
from api.runtime import Runtime
from api.settings import ShimSettings


def wrap(api: ASGIApp, settings: ShimSettings) -> ASGIApp:
    """The routes with what stands around every request."""
    answered = Measured(Cors(BodyLimit(etags.ETags(api)), settings.allowed_origins))
    return RequestContext(answered, SecurityHeaders(settings.hsts_seconds))


def create_api(runtime: Runtime) -> FastAPI:
    """The routes alone, without what stands around every request; the loops run for as long as its lifespan."""

    @asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        async with runtime.running():
            yield

    shown = runtime.settings.docs_enabled
    # FastAPI's own docs page loads its scripts from a public CDN; the other one brings them.
    kind = FastAPIOffline if shown else FastAPI
    api = kind(
        title="Stumbleable scheduler",
        version="1",
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url="/docs" if shown else None,
        redoc_url=None,
        openapi_url="/openapi.json" if shown else None,
    )
    api.state.runtime = runtime
    handlers.install(api)
    openapi.install(api)
    methods.install(api)
    etags.install(api)
    api.include_router(health.router)
    api.include_router(stats.metrics_router)
    api.include_router(stats.router)  # before /api/jobs/{job_id}
    api.include_router(streams.router)
    api.include_router(logs.router)
    api.include_router(jobs.router)
    api.include_router(maintenance.router)
    api.include_router(job_types.router)
    api.include_router(schedules.router)
    api.include_router(system.router)
    api.include_router(config.router)
    api.include_router(audit.router)
    api.include_router(dashboard.router)
    return api
