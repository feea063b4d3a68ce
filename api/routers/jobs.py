"""Jobs: start one, look at one, look at many, stop one, try one again."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response, status

from api.cursors import Position
from api.deps import AdminDep, AdminRoute, IdempotencyKeyHeader, RuntimeDep
from api.errors import InvalidRequest, JobConflict, JobNotFound, KeyReused, NotReady, admin_responses
from api.explain import explain
from api.facts import gather
from api.idempotency import idempotency_of
from api.queries import JobQuery
from api.quick import plain, quickly
from api.runtime import Runtime
from api.schemas import Accepted, Explanation, JobPage, JobView, NoFields, Trigger
from api.users import parse_uuid
from api.views import Json, job_view
from flows.core import scheduled_jobs
from flows.core.domain import Origin
from flows.core.scheduled_jobs import Acceptance

router = APIRouter(prefix="/api/jobs", tags=["jobs"], route_class=AdminRoute)

_ACCEPTED_HEADERS = {
    "Location": {"description": "Path of the job", "schema": {"type": "string"}},
    "Idempotent-Replayed": {"description": "`true` on an answer that was given before", "schema": {"type": "string"}},
}
JobId = Annotated[str, Path(description="Id of the job")]


_MAY_REPEAT = frozenset({"type", "status"})
_RECEIPT = "The job with its `cancel` receipt"


@router.post(
    "/trigger",
    summary="Start a job",
    status_code=status.HTTP_202_ACCEPTED,
    responses={**admin_responses(InvalidRequest, KeyReused, NotReady), 202: {"headers": _ACCEPTED_HEADERS}},
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
        rate=runtime.turns.rate,
    )
    return _accepted(acceptance, runtime, response)


def _accepted(acceptance: Acceptance, runtime: Runtime, response: Response) -> Accepted:
    if acceptance.mismatch:
        raise KeyReused
    if acceptance.job.pending_reason is None:
        runtime.dispatcher.kick()  # nothing holds it back
    response.headers["Location"] = f"/api/jobs/{acceptance.job.id}"
    if acceptance.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return Accepted.of(acceptance.job)


async def _list_plainly(request: Request, runtime: Runtime) -> Json | None:
    query = plain(JobQuery, request.query_params, _MAY_REPEAT)
    return None if query is None else await _page(query, runtime)


@router.get("", summary="List jobs", response_model=JobPage, responses=admin_responses(InvalidRequest))
@quickly(_list_plainly)
async def list_jobs(query: Annotated[JobQuery, Query()], _admin: AdminDep, runtime: RuntimeDep) -> Json:
    """Jobs, newest first by (createdAt, id). A page that is reached by cursor is not shifted by newer jobs."""
    return await _page(query, runtime)


async def _page(query: JobQuery, runtime: Runtime) -> Json:
    asked = query.filters([query.started_by] if query.started_by else [])
    position = runtime.cursors.decode(query.cursor, asked) if query.cursor is not None else None
    filters = query.filters(await runtime.users.aliases(query.started_by)) if query.started_by else asked
    page = await scheduled_jobs.list_jobs(
        filters,
        limit=query.limit + 1,  # one more tells whether there is a next page
        offset=0 if position else (query.number - 1) * query.limit,
        before=(position.at, UUID(position.row_id)) if position else None,
    )
    number = position.page if position else query.number
    shown = page.rows[: query.limit]
    more = len(page.rows) > query.limit
    return Json(
        {
            "jobs": [job_view(row, runtime.settings.ui_url) for row in shown],
            "total": page.total,
            "totalIsEstimate": page.total_is_estimate,
            "page": number,
            "limit": query.limit,
            "nextCursor": runtime.cursors.encode(Position.below(shown[-1], number + 1), asked) if more else None,
        }
    )


async def _get_plainly(request: Request, runtime: Runtime) -> Json:
    return await _shown(request.path_params["job_id"], runtime)


@router.get("/{job_id}", summary="Show a job", response_model=JobView, responses=admin_responses(JobNotFound))
@quickly(_get_plainly)
async def get_job(job_id: JobId, _admin: AdminDep, runtime: RuntimeDep) -> Json:
    """One job, as its row says, also an archived one. An id that is none is not found."""
    return await _shown(job_id, runtime)


async def _shown(job_id: str, runtime: Runtime) -> Json:
    row = await scheduled_jobs.get_row(_known(job_id))
    if row is None:
        raise JobNotFound
    return Json(job_view(row, runtime.settings.ui_url))


def _known(job_id: str) -> UUID:
    known = parse_uuid(job_id)
    if known is None:
        raise JobNotFound
    return known


@router.post(
    "/{job_id}/cancel",
    summary="Cancel a job",
    response_description=f"{_RECEIPT}: it is cancelled, or was already",
    responses={
        **admin_responses(InvalidRequest, JobNotFound, JobConflict),
        202: {"model": JobView, "description": f"{_RECEIPT}: it is running and has been told to stop"},
    },
)
async def cancel_job(
    job_id: JobId, admin: AdminDep, runtime: RuntimeDep, response: Response, _body: NoFields | None = None
) -> JobView:
    """Cancels a pending job at once. A running one is told to stop, and is `cancelled` when its work has stopped."""
    known = _known(job_id)
    started_by = await runtime.users.started_by(admin)
    asked = await scheduled_jobs.cancel(known, by=started_by, actor=admin.clerk_user_id)
    job = asked.job
    if job is None:
        raise JobNotFound
    if asked.outcome == "ended":
        raise JobConflict(
            f"Job {job.id} has ended as {job.status}: only a pending or a running job can be cancelled",
            audited=asked.audited,
        )
    if asked.outcome == "cancelling":
        response.status_code = status.HTTP_202_ACCEPTED
    else:
        runtime.dispatcher.kick()  # its slot may be free now
    if job.flow_run_id is not None and asked.outcome != "already":
        cancelling = runtime.orchestrator.cancel_run(job.flow_run_id)
        runtime.errands.start(f"Cancel of the flow run of job {job.id}", cancelling)
    return JobView.of(job, runtime.settings.ui_url)


@router.post(
    "/{job_id}/retry",
    summary="Try a job again",
    status_code=status.HTTP_202_ACCEPTED,
    responses={
        **admin_responses(InvalidRequest, JobNotFound, JobConflict, KeyReused),
        202: {"headers": _ACCEPTED_HEADERS},
    },
)
async def retry_job(
    job_id: JobId,
    admin: AdminDep,
    runtime: RuntimeDep,
    response: Response,
    idempotency_key: IdempotencyKeyHeader = None,
    _body: NoFields | None = None,
) -> Accepted:
    """Accepts a new job with the same parameters, for one that failed or was cancelled. A job has one retry at most."""
    known = _known(job_id)
    started_by = await runtime.users.started_by(admin)
    retrial = await scheduled_jobs.retry(
        known,
        started_by=started_by,
        actor=admin.clerk_user_id,
        idempotency=idempotency_of(idempotency_key, admin, f"POST /api/jobs/{known}/retry", {}),
        rate=runtime.turns.rate,
    )
    if not retrial.known:
        raise JobNotFound
    if retrial.acceptance is None:
        raise JobConflict(_sentence(retrial.conflict), audited=True)
    return _accepted(retrial.acceptance, runtime, response)


def _sentence(text: str | None) -> str | None:
    return f"{text[0].upper()}{text[1:]}" if text else None


@router.get("/{job_id}/explain", summary="Say why a job is where it is", responses=admin_responses(JobNotFound))
async def explain_job(job_id: JobId, _admin: AdminDep, runtime: RuntimeDep) -> Explanation:
    """Why it is not running, or what it is doing, or how it ended and what happens next; also while Prefect is away."""
    facts = await gather(_known(job_id), runtime.orchestrator, runtime.settings.work_pool)
    if facts is None:
        raise JobNotFound
    return explain(facts)
