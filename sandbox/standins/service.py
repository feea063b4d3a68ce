"""What every stand-in has in common: settings, `/health`, a database pool, the words for an unknown path."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias

import asyncpg
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from sandbox.standins.faults import EVERY_SERVICE, Calls, FaultMiddleware, Faults, Received, control_routes

Environment: TypeAlias = Mapping[str, str]
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Lifespan: TypeAlias = Callable[[Starlette], AbstractAsyncContextManager[None]]


class MissingSettingError(Exception):
    """An environment variable that the stand-in cannot do without is not set."""


def required(env: Environment, name: str) -> str:
    if not env.get(name):
        raise MissingSettingError(f"{name} is not set")
    return env[name]


def build_service(
    name: str,
    routes: Sequence[BaseRoute],
    *,
    lifespan: Lifespan | None = None,
    own_faults: tuple[str, ...] = (),
    received: Received = lambda _body: [],
    middleware: Sequence[Middleware] = (),
) -> ASGIApp:
    """A stand-in's whole application: its routes, and around them what all of them share."""
    faults, calls = Faults(known=(*EVERY_SERVICE, *own_faults)), Calls()

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "healthy", "service": f"{name}-service", "timestamp": timestamp()})

    app = Starlette(
        routes=[Route("/health", health), *control_routes(faults, calls), *routes],
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={404: _endpoint_not_found, 405: _endpoint_not_found, Exception: _internal_error},
    )
    return FaultMiddleware(app, faults, calls, received)


def timestamp() -> str:
    """Now, as the site's services write it: UTC, milliseconds, Z."""
    return iso(datetime.now(UTC))


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@asynccontextmanager
async def database_pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool that connects on first use, so that a stand-in may start before its database."""
    pool = await asyncpg.create_pool(database_url, min_size=0, max_size=5, command_timeout=30)
    try:
        yield pool
    finally:
        pool.terminate()  # close() would wait for requests that the end of the process has just cut off


def pooled(database_url: str) -> Lifespan:
    """Keep `app.state.pool` open while the application runs."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with database_pool(database_url) as pool:
            app.state.pool = pool
            yield

    return lifespan


async def json_body(request: Request) -> Any:
    """The request's JSON, or None when it is not JSON (which no rule accepts)."""
    try:
        return await request.json()
    except ValueError:
        return None


async def _endpoint_not_found(request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "Endpoint not found", "path": request.url.path}, status_code=404)


async def _internal_error(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"success": False, "error": "Internal server error"}, status_code=500)
