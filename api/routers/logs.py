"""The log of a job, a page at a time."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.cursors import LogPosition
from api.deps import AdminDep, AdminRoute, RuntimeDep
from api.errors import InvalidRequest, JobNotFound, admin_responses
from api.log_lines import LEVELS, Level, LogPage, later
from api.orchestrator import RunLogLine
from api.users import parse_uuid
from flows.core import scheduled_jobs

router = APIRouter(prefix="/api/jobs", tags=["logs"], route_class=AdminRoute)


class LogQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    level: Level = Field("DEBUG", description="Only lines of this level or a more severe one")
    limit: int = Field(200, ge=1, le=200, description="Most lines a page")
    cursor: str | None = Field(None, description="nextCursor of the page before; for the same job and level only")


@router.get("/{job_id}/logs", summary="Show a job's log", responses=admin_responses(InvalidRequest, JobNotFound))
async def get_logs(
    job_id: Annotated[str, Path(description="Id of the job")],
    query: Annotated[LogQuery, Query()],
    _admin: AdminDep,
    runtime: RuntimeDep,
) -> LogPage:
    """What the job's run has logged, oldest first; nothing for a job without a run.

    Of a run that was set going again in Prefect, only the lines of this job's attempt.
    """
    known = parse_uuid(job_id)
    filters = {"job": str(known), "level": query.level}
    position = runtime.cursors.decode_log(query.cursor, filters) if query.cursor is not None else None
    span = await scheduled_jobs.log_span(known) if known else None
    if span is None:
        raise JobNotFound
    if span.flow_run_id is None:
        return LogPage(logs=[], next_cursor=None)

    async def lines(flow_run_id: UUID, limit: int, offset: int) -> list[RunLogLine]:
        return await runtime.orchestrator.log_lines(
            flow_run_id,
            since=later(span.since, position.said_at if position else None),
            until=span.until,
            level=LEVELS[query.level] if query.level != "DEBUG" else None,
            limit=limit,
            offset=offset,
        )

    skipped = position.lines if position else 0
    shown = await lines(span.flow_run_id, query.limit, skipped)
    more = len(shown) == query.limit and await lines(span.flow_run_id, 1, skipped + query.limit)
    return LogPage(
        logs=await runtime.log_feeds.views.of(shown),
        next_cursor=runtime.cursors.encode_log(_position_after(shown, position), filters) if more else None,
    )


def _position_after(shown: list[RunLogLine], before: LogPosition | None) -> LogPosition:
    moment = shown[-1].said_at
    lines = sum(line.said_at == moment for line in shown)
    if before is not None and before.said_at == moment:
        lines += before.lines
    return LogPosition(moment, lines)
