"""One call of every route, and the routes that are open to everybody, each with its reason."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi.routing import iter_route_contexts

from api.deps import AdminRoute
from tests.api.conftest import Shim

JOB = "5f0c2b1e-0000-4000-8000-000000000001"
_NOT_FOUND = {"error": "Job not found", "code": "JOB_NOT_FOUND", "status": 404}
_ACCEPTED = {"jobId", "id", "jobType", "status", "startedAt", "createdAt"}
_NOT_PAUSED = {"paused": False, "reason": None, "until": None, "setBy": None, "setAt": None}
_NO_JOBS = {"jobs": [], "total": 0, "totalIsEstimate": False, "page": 1, "limit": 50, "nextCursor": None}

PUBLIC = {
    "/health": "probes have no token",
    "/ready": "alerts have no token; a line a dependency, nothing else",
    "/metrics": "Prometheus has no token; numbers without names of people",
    "/admin": "the page itself; what it shows it asks for with its user's token",
    "/api/config": "the page needs it before somebody has signed in: addresses and public keys",
    "/docs": "off unless DOCS_ENABLED",
    "/docs/oauth2-redirect": "off unless DOCS_ENABLED",
    "/static-offline-docs": "off unless DOCS_ENABLED",
    "/openapi.json": "off unless DOCS_ENABLED",
}


@dataclass(frozen=True)
class Sample:
    """A call that is right, and what an admin gets for it where the database is empty.

    `body` is the whole answer (an error's without its id), or the names that are in it.
    """

    path: str
    statuses: tuple[int, ...]
    body: dict[str, Any] | set[str] | None = None
    sent: Any = None


# By method and template, without the names of its parameters. Those of routes that are not there yet wait for them.
SAMPLES: dict[tuple[str, str], Sample] = {
    ("POST", "/api/jobs/trigger"): Sample("/api/jobs/trigger", (202,), _ACCEPTED, {"jobType": "crawl_pending"}),
    ("GET", "/api/jobs"): Sample("/api/jobs", (200,), _NO_JOBS),
    ("GET", "/api/jobs/stats"): Sample("/api/jobs/stats", (200,)),
    ("GET", "/api/jobs/stream"): Sample("/api/jobs/stream", (200,)),
    ("GET", "/api/jobs/{}"): Sample(f"/api/jobs/{JOB}", (404,), _NOT_FOUND),
    ("POST", "/api/jobs/{}/cancel"): Sample(f"/api/jobs/{JOB}/cancel", (404,), _NOT_FOUND),
    ("POST", "/api/jobs/{}/retry"): Sample(f"/api/jobs/{JOB}/retry", (404,), _NOT_FOUND),
    ("GET", "/api/jobs/{}/explain"): Sample(f"/api/jobs/{JOB}/explain", (404,), _NOT_FOUND),
    ("GET", "/api/jobs/{}/logs"): Sample(f"/api/jobs/{JOB}/logs", (404,), _NOT_FOUND),
    ("GET", "/api/jobs/{}/logs/stream"): Sample(f"/api/jobs/{JOB}/logs/stream", (404,), _NOT_FOUND),
    ("GET", "/api/maintenance"): Sample("/api/maintenance", (200,), _NOT_PAUSED),
    ("PUT", "/api/maintenance"): Sample("/api/maintenance", (200,), set(_NOT_PAUSED), {"paused": False}),
    ("GET", "/api/job-types"): Sample("/api/job-types", (200,)),
    ("GET", "/api/job-types/{}"): Sample("/api/job-types/crawl_pending", (200,)),
    ("GET", "/api/job-types/{}/schedule"): Sample("/api/job-types/crawl_pending/schedule", (200,)),
    ("PATCH", "/api/job-types/{}/schedule"): Sample(
        "/api/job-types/crawl_pending/schedule", (200, 202), sent={"enabled": False}
    ),
    ("DELETE", "/api/job-types/{}/schedule"): Sample("/api/job-types/crawl_pending/schedule", (200, 202, 204)),
    ("POST", "/api/schedules/preview"): Sample(
        "/api/schedules/preview", (200,), sent={"cron": "0 9 * * MON", "timezone": "UTC"}
    ),
    ("GET", "/api/system"): Sample("/api/system", (200,)),
    ("GET", "/api/audit"): Sample("/api/audit", (200,)),
}


@dataclass(frozen=True)
class RouteOfApp:
    method: str
    template: str
    is_for_admins: bool

    @property
    def sample(self) -> Sample:
        return SAMPLES[self.key]

    @property
    def key(self) -> tuple[str, str]:
        return self.method, re.sub(r"\{[^}]*\}", "{}", self.template)


def routes_of(shim: Shim) -> Iterator[RouteOfApp]:
    """Everything that the app answers to, whoever has added it."""
    for context in iter_route_contexts(shim.api.routes):
        guarded = isinstance(context.original_route, AdminRoute)
        for method in context.methods or {"GET"}:
            yield RouteOfApp(method, context.path or "", guarded)


def admin_routes(shim: Shim) -> list[RouteOfApp]:
    """The routes for admins, the ones that change something last."""
    found = [route for route in routes_of(shim) if route.is_for_admins]
    return sorted(found, key=lambda route: (route.method != "GET", route.key))


async def begin(shim: Shim, sample: Sample, authorization: str) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer that may never end; the client goes away once it has seen them."""
    begun: asyncio.Future[tuple[int, dict[str, str]]] = asyncio.get_running_loop().create_future()

    async def receive() -> dict[str, Any]:
        await asyncio.wait([begun])
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = {name.decode(): value.decode() for name, value in message["headers"]}
            begun.set_result((message["status"], headers))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": sample.path,
        "raw_path": sample.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", authorization.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("shim", 80),
    }
    async with asyncio.timeout(10):
        await shim.app(scope, receive, send)
    return begun.result()
