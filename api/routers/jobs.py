"""Jobs: start one, look at one, look at many."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response, status

from api.cursors import Position
from api.deps import AdminDep, AdminRoute, IdempotencyKeyHeader, RuntimeDep
from api.errors import (
    AdminRequired,
    ApiError,
    BodyTooLarge,
    Internal,
    InvalidRequest,
    InvalidToken,
    JobNotFound,
    KeyReused,
    MissingAuthorization,
    NeighbourAway,
    NotReady,
    responses,
)
from api.idempotency import idempotency_of
from api.queries import JobQuery
from api.schemas import Accepted, JobPage, JobView, Trigger
from api.users import parse_uuid
from flows.core import scheduled_jobs
from flows.core.domain import Origin

router = APIRouter(prefix="/api/jobs", tags=["jobs"], route_class=AdminRoute)

_ACCEPTED_HEADERS = {
    "Location": {"description": "Path of the job", "schema": {"type": "string"}},
    "Idempotent-Replayed": {"description": "`true` on an answer that was given before", "schema": {"type": "string"}},
}
JobId = Annotated[str, Path(description="Id of the job")]


def _errors(*kinds: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    return responses(MissingAuthorization, InvalidToken, AdminRequired, *kinds, BodyTooLarge, Internal, NeighbourAway)


@router.post(
    "/trigger",
    summary="Start a job",
    status_code=status.HTTP_202_ACCEPTED,
    responses={**_errors(InvalidRequest, KeyReused, NotReady), 202: {"headers": _ACCEPTED_HEADERS}},
)
async def trigger(
    body: Trigger,
    admin: AdminDep,
    runtime: RuntimeDep,
    response: Response,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Accepted:
    """Accepts a job and answers. It is dispatched beside the answer, and waits for a worker where it must."""
    parameters = runtime.catalogue.resolve(body.job_type, body.parameters)
    started_by = await runtime.users.started_by(admin)
    acceptance = await scheduled_jobs.accept(
        body.job_type,
        parameters=parameters,
        priority=body.priority,
        origin=Origin.DASHBOARD,
        started_by=started_by,
        exclusive_key=body.job_type,
        actor=admin.clerk_user_id,
        audit_details=body.doubts(admin.clerk_user_id, started_by),
        idempotency=idempotency_of(idempotency_key, admin, "POST /api/jobs/trigger", body.payload()),
    )
    if acceptance.mismatch:
        raise KeyReused
    runtime.dispatcher.kick()
    response.headers["Location"] = f"/api/jobs/{acceptance.job.id}"
    if acceptance.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return Accepted.of(acceptance.job)


@router.get("", summary="List jobs", responses=_errors(InvalidRequest))
async def list_jobs(query: Annotated[JobQuery, Query()], _admin: AdminDep, runtime: RuntimeDep) -> JobPage:
    """Jobs, newest first by (createdAt, id). A page that is reached by cursor is not shifted by newer jobs."""
    asked = query.filters([query.started_by] if query.started_by else [])
    position = runtime.cursors.decode(query.cursor, asked) if query.cursor is not None else None
    filters = query.filters(await runtime.users.aliases(query.started_by)) if query.started_by else asked
    page = await scheduled_jobs.list_jobs(
        filters,
        limit=query.limit + 1,  # one more tells whether there is a next page
        offset=0 if position else (query.number - 1) * query.limit,
        before=(position.created_at, position.job_id) if position else None,
    )
    number = position.page if position else query.number
    shown = page.jobs[: query.limit]
    more = len(page.jobs) > query.limit
    return JobPage(
        jobs=[JobView.of(job, runtime.settings.ui_url) for job in shown],
        total=page.total,
        total_is_estimate=page.total_is_estimate,
        page=number,
        limit=query.limit,
        next_cursor=runtime.cursors.encode(Position.below(shown[-1], number + 1), asked) if more else None,
    )


@router.get("/{job_id}", summary="Show a job", responses=_errors(JobNotFound))
async def get_job(job_id: JobId, _admin: AdminDep, runtime: RuntimeDep) -> JobView:
    """One job, as its row says. An id that is none is not found."""
    known = parse_uuid(job_id)
    job = await scheduled_jobs.get(known) if known else None
    if job is None:
        raise JobNotFound
    return JobView.of(job, runtime.settings.ui_url)
