"""The only words for the table `scheduled_jobs`: each function here is one call of one SQL function.

Shared by the shim (accept, dispatch, sweep, read) and by runs (adopt, take, finish). Rows come back as `Job`.
Errors: `Unavailable` while the database cannot answer, `LeaseLost` where a fence is old.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from flows.clients import database
from flows.core.domain import Job, JobStatus, Origin, Priority

_job = TypeAdapter(Job)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Acceptance:
    """The answer of `accept`: the job as it was accepted, and whether an earlier call had accepted it already."""

    job: Job
    replayed: bool
    mismatch: bool = False


@dataclass(frozen=True)
class Taken:
    """The answer of `take`. `decision` is one of take_job's words; only 'go' has a fence."""

    decision: str
    fence: int | None
    reason: str | None


@dataclass(frozen=True)
class Page:
    jobs: list[Job]
    total: int
    total_is_estimate: bool


@dataclass(frozen=True)
class IdempotencyKey:
    """A caller's key in its scope; `fingerprint` tells payloads apart."""

    actor: str
    route: str
    key: str
    fingerprint: str


def parse(row: Any) -> Job:
    """The job of a row as PostgREST gives it.

    Rows of the published scheduler may lack times, and hold other JSON than objects: one such row must not hide the
    page of history it stands on.
    """
    made_at = row["created_at"] or row["started_at"] or row["updated_at"] or _EPOCH
    shown = {name: row[name] if isinstance(row[name], dict) else None for name in ("result", "progress", "parameters")}
    return _job.validate_python({**row, **shown, "created_at": made_at, "updated_at": row["updated_at"] or made_at})


async def accept(
    job_type: str,
    *,
    parameters: dict[str, Any],
    priority: Priority,
    origin: Origin,
    started_by: str | None,
    exclusive_key: str | None,
    actor: str,
    audit_details: dict[str, Any] | None = None,
    idempotency: IdempotencyKey | None = None,
    retry_of: UUID | None = None,
) -> Acceptance:
    """Writes the row, the audit entry and the idempotency key in one transaction; from then on the job exists."""
    answer = await database.rpc(
        "accept_job",
        job={
            "job_type": job_type,
            "parameters": parameters,
            "priority": priority.value,
            "origin": origin.value,
            "started_by": started_by,
            "exclusive_key": exclusive_key,
            "retry_of": str(retry_of) if retry_of else None,
        },
        audit={"actor": actor, "action": "retry" if retry_of else "trigger", "details": audit_details},
        idempotency=vars(idempotency) if idempotency else None,
    )
    outcome = answer["outcome"]
    return Acceptance(parse(answer["job"]), replayed=outcome == "replayed", mismatch=outcome == "mismatch")


async def get(job_id: UUID) -> Job | None:
    """The job with this id, or None."""
    try:
        client = await database.client()
        answer = await client.table("scheduled_jobs").select("*").eq("id", str(job_id)).execute()
    except database.CALL_ERRORS as error:
        raise database.translate("get job", error) from error
    return parse(answer.data[0]) if answer.data else None


async def list_jobs(
    filters: dict[str, Any], *, limit: int, offset: int = 0, before: tuple[datetime, UUID] | None = None
) -> Page:
    """A page of jobs, newest first by (created_at, id), starting below `before` or after `offset` rows.

    `filters` may have types, statuses, startedBy (lists), parent, from, to. The total is exact to 10,000.
    """
    answer = await database.rpc(
        "list_jobs",
        filter=filters,
        limit=limit,
        offset=offset,
        before_at=before[0].isoformat() if before else None,
        before_id=str(before[1]) if before else None,
    )
    return Page([parse(row) for row in answer["jobs"]], answer["total"], answer["totalIsEstimate"])


async def adopt(
    flow_run_id: UUID,
    *,
    idempotency_key: str | None,
    job_type: str,
    parameters: dict[str, Any],
    origin: Origin,
    exclusive_key: str | None,
    scheduled_at: datetime | None,
) -> Job:
    """The row of a flow run: the one it was dispatched for, or a new one whose id is the run's."""
    row = await database.rpc(
        "adopt_run",
        flow_run_id=str(flow_run_id),
        idempotency_key=idempotency_key,
        job_type=job_type,
        parameters=parameters,
        origin=origin.value,
        exclusive_key=exclusive_key,
        scheduled_at=scheduled_at.isoformat() if scheduled_at else None,
    )
    return parse(row)


async def take(
    job_id: UUID, *, flow_run_id: UUID, attempt: int, worker: str, parameters: dict[str, Any] | None = None
) -> Taken:
    """Takes the lease of a job for one run, if it may have it; `parameters` are the run's, with defaults filled in."""
    answer = await database.rpc(
        "take_job",
        id=str(job_id),
        flow_run_id=str(flow_run_id),
        attempt=attempt,
        worker=worker,
        parameters=parameters,
    )
    return Taken(answer["decision"], answer["fence"], answer["reason"])


async def claim_dispatch(limit: int) -> list[Job]:
    """Jobs that need a flow run now; each is this replica's for 15 s."""
    return [parse(row) for row in await database.rpc("claim_dispatch", limit=limit)]


async def record_dispatch(job_id: UUID, flow_run_id: UUID) -> JobStatus | None:
    """Notes a job's flow run and returns the job's status (None: no such job)."""
    status = await database.rpc("record_dispatch", id=str(job_id), flow_run_id=str(flow_run_id))
    return JobStatus(status) if status else None


async def postpone_dispatch(job_id: UUID, reason: str, seconds: int) -> None:
    """Says why a job has no flow run yet, and leaves it alone for that long."""
    await database.rpc("postpone_dispatch", id=str(job_id), reason=reason, seconds=seconds)


async def forget_flow_run(job_id: UUID, flow_run_id: UUID) -> bool:
    """Makes a pending job whose flow run is gone from Prefect due for dispatch again."""
    return bool(await database.rpc("forget_flow_run", id=str(job_id), flow_run_id=str(flow_run_id)))


async def close_unstarted(job_id: UUID, flow_run_id: UUID | None, status: JobStatus, error: str | None) -> bool:
    """Ends a pending job whose run ended, or could not be made, before any process took its lease."""
    answer = await database.rpc(
        "close_unstarted_job",
        id=str(job_id),
        flow_run_id=str(flow_run_id) if flow_run_id else None,
        status=status.value,
        error=error,
    )
    return bool(answer)


async def give_up_unstarted(job_id: UUID, flow_run_id: UUID, error: str) -> bool:
    """Fails a job whose run a worker took on and no process has begun; False while the database's grace lasts."""
    return bool(await database.rpc("give_up_unstarted", id=str(job_id), flow_run_id=str(flow_run_id), error=error))


async def runs_to_crash(limit: int) -> list[Job]:
    """Dead jobs whose runs Prefect still takes for alive."""
    return [parse(row) for row in await database.rpc("runs_to_crash", limit=limit)]


async def record_crash(job_id: UUID) -> None:
    """Notes that Prefect has been told of a job's death."""
    await database.rpc("record_crash", id=str(job_id))


async def dispatched_and_not_taken(limit: int) -> list[Job]:
    """Pending jobs that have had a flow run for 5 s and no process: Prefect is asked what became of them."""
    return [parse(row) for row in await database.rpc("sweep_dispatched", limit=limit)]


async def reap_dead_leases() -> list[Job]:
    """Fails the jobs whose lease is dead and returns them; nothing for one lease after a gap between sweeps."""
    return [parse(row) for row in await database.rpc("reap_dead_leases")]
