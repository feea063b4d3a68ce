"""Is the system well? For the dashboard: an answer also while parts of it are down."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from api.deps import AdminDep, AdminRoute, RuntimeDep
from api.errors import admin_responses
from api.orchestrator import WorkerSign
from api.prefect_checks import MISSED_HEARTBEATS
from api.runtime import Runtime
from api.schemas import Answer, UtcTime
from api.wording import duration, moment, said
from flows.core import scheduled_jobs
from flows.core.errors import SchedulerError
from flows.core.scheduled_jobs import Maintenance

router = APIRouter(prefix="/api/system", tags=["system"], route_class=AdminRoute)

_BOUND_SECONDS = 2.0


class SystemCheck(Answer):
    name: Literal["database", "prefect", "workers", "jwks"] = Field(description="What was looked at")
    ok: bool | None = Field(description="null: not known, because Prefect does not answer")
    detail: str = Field(description="What was found, as a sentence")
    since: UtcTime | None = Field(
        description="Since when it is so, as far as this process has seen; of workers: the last sign of life"
    )


class SystemView(Answer):
    status: Literal["healthy", "degraded"] = Field(description="healthy: every check is ok")
    paused: bool | None = Field(description="Whether every start is held back; null while the database cannot tell")
    paused_reason: str | None = Field(description="Why")
    paused_until: UtcTime | None = Field(description="When the pause ends by itself")
    checks: list[SystemCheck] = Field(description="database, prefect, workers and jwks, in this order")


@router.get("", summary="Show how the system is", responses=admin_responses())
async def get_system(_admin: AdminDep, runtime: RuntimeDep) -> SystemView:
    """Database, Prefect, workers and Clerk's keys, asked side by side for at most 2 seconds, and the pause."""
    report, workers, said_last = await asyncio.gather(
        runtime.readiness.report(), _workers(runtime), _maintenance(), return_exceptions=False
    )
    checks = [
        _dependency("database", "The database", report.lines["supabase"], report.since["supabase"]),
        _dependency(
            "prefect", "Prefect", report.lines["prefect"], runtime.orchestrator.down_since or report.since["prefect"]
        ),
        workers,
        _dependency("jwks", "Clerk's signing keys", report.lines["jwks"], report.since["jwks"]),
    ]
    holds = said_last is not None and said_last.holds_at(datetime.now(UTC))
    return SystemView(
        status="healthy" if all(check.ok for check in checks) else "degraded",
        paused=None if said_last is None else holds,
        paused_reason=said_last.reason if said_last and holds else None,
        paused_until=said_last.until if said_last and holds else None,
        checks=checks,
    )


def _dependency(name: Literal["database", "prefect", "jwks"], what: str, line: str, since: datetime) -> SystemCheck:
    ok = line == "ok"
    return SystemCheck(name=name, ok=ok, detail=f"{what}: {'answers' if ok else line}.", since=since)


async def _workers(runtime: Runtime) -> SystemCheck:
    try:
        async with asyncio.timeout(_BOUND_SECONDS):
            pool, sign = await runtime.orchestrator.quietest_pool(runtime.settings.work_pool)
    except (SchedulerError, TimeoutError) as error:
        reason = said(str(error)) if str(error) else "Prefect does not answer in time"
        return SystemCheck(name="workers", ok=None, detail=f"Not known: {reason}.", since=None)
    if sign is None:
        never = f"No worker of pool {said(pool)} has ever been heard of: nothing starts."
        return SystemCheck(name="workers", ok=False, detail=never, since=None)
    return _alive(sign, pool)


def _alive(sign: WorkerSign, pool: str) -> SystemCheck:
    silence = (datetime.now(UTC) - sign.heard_at).total_seconds()
    if silence <= MISSED_HEARTBEATS * sign.interval_seconds:
        heard = f"Worker {said(sign.worker)} of pool {said(pool)} was heard of {duration(max(0, silence))} ago."
        return SystemCheck(name="workers", ok=True, detail=heard, since=sign.heard_at)
    silent = (
        f"No worker of pool {said(pool)} has been heard of since {moment(sign.heard_at)} (the last was"
        f" {said(sign.worker)}): nothing starts until one is back."
    )
    return SystemCheck(name="workers", ok=False, detail=silent, since=sign.heard_at)


async def _maintenance() -> Maintenance | None:
    try:
        async with asyncio.timeout(_BOUND_SECONDS):
            return await scheduled_jobs.maintenance()
    except (SchedulerError, TimeoutError):
        return None
