"""The app: routes, error answers and what runs beside the requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from api import handlers, openapi
from api.middleware import BodyLimit, Cors, RequestContext
from api.routers import health, jobs, maintenance
from api.runtime import Runtime, build_runtime
from api.settings import ShimSettings


def create_app(settings: ShimSettings) -> ASGIApp:
    """The shim as an ASGI app; its loops run for as long as its lifespan."""
    return wrap(create_api(build_runtime(settings)), settings)


def wrap(api: ASGIApp, settings: ShimSettings) -> ASGIApp:
    """The routes with what stands around every request."""
    return RequestContext(Cors(BodyLimit(api), settings.allowed_origins))


def create_api(runtime: Runtime) -> FastAPI:
    """The routes alone, without what stands around every request."""

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
    api.include_router(health.router)
    api.include_router(jobs.router)
    api.include_router(maintenance.router)
    return api
