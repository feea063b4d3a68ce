"""Numbers about jobs: for the dashboard, and for monitoring."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from api.deps import AdminDep, AdminRoute, RuntimeDep
from api.errors import InvalidRequest, admin_responses
from api.stats import JobStats, StatsQuery
from flows.core import history

router = APIRouter(prefix="/api/jobs", tags=["jobs"], route_class=AdminRoute)
metrics_router = APIRouter(tags=["health"])


@router.get("/stats", summary="Show numbers about jobs", responses=admin_responses(InvalidRequest))
async def job_stats(query: Annotated[StatsQuery, Query()], _admin: AdminDep) -> JobStats:
    """How the jobs of the last days ended and how long they took, and how many wait and run now."""
    return JobStats.of(await history.stats(query.days), query.days)


@metrics_router.get("/metrics", summary="Show numbers for Prometheus", response_class=PlainTextResponse)
async def metrics(runtime: RuntimeDep) -> Response:
    """In Prometheus' text format, for a scraper in the cluster. Without the database: what this process knows."""
    return Response(await runtime.metrics.text(), media_type=CONTENT_TYPE_LATEST)
