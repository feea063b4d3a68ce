"""The only words for the table `scheduled_jobs` and its archive: each function here is one call of one SQL function.

Shared by the shim (accept, dispatch, sweep, read) and by runs (adopt, take, finish). Rows come back as `Job`.
Errors: `Unavailable` while the database cannot answer, `LeaseLost` where a fence is old.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from flows.clients import database
from flows.core.domain import Job, JobStatus, JobType, Origin, Priority
from flows.core.errors import OutOfTurns

_job = TypeAdapter(Job)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALL = 2**31 - 1


@dataclass(frozen=True)
class Acceptance:
    """The answer of `accept`: the job as it was accepted, and whether an earlier call had accepted it already."""

    job: Job
    replayed: bool
    mismatch: bool = False


@dataclass(frozen=True)
class Retrial:
    """The answer of `retry`: the new job, or why there is none. `known` is False where the id is nobody's."""

    acceptance: Acceptance | None
    conflict: str | None = None
    known: bool = True


@dataclass(frozen=True)
class Cancellation:
    """The answer of `cancel`. `outcome` is one of cancel_job's words; the job is None for an unknown id.

    `audited` is False where the audit has no entry about it: the job is archived, or there is none.
    """

    outcome: str
    job: Job | None
    audited: bool = False


@dataclass(frozen=True)
class EndOrder:
    """A run whose process must be ended by whoever started it, and why."""

    flow_run_id: UUID
    grace_seconds: int
    reason: str


@dataclass(frozen=True)
class Maintenance:
    """What was said last about holding every start back, by whom and until when."""

    paused: bool
    reason: str | None = None
    until: datetime | None = None
    set_by: str | None = None
    set_at: datetime | None = None

    def holds_at(self, now: datetime) -> bool:
        """Whether starts are held back then: a pause ends by itself at `until`."""
        return self.paused and (self.until is None or self.until > now)


@dataclass(frozen=True)
class Taken:
    """The answer of `take`. `decision` is one of take_job's words; only 'go' has a fence."""

    decision: str
    fence: int | None
    reason: str | None


@dataclass(frozen=True)
class Page:
    """Rows as the database gives them: whoever shows fifty of them has no use for fifty jobs."""

    rows: list[dict[str, Any]]
    total: int
    total_is_estimate: bool


@dataclass(frozen=True)
class IdempotencyKey:
    """A caller's key in its scope; `fingerprint` tells payloads apart."""

    actor: str
    route: str
    key: str
    fingerprint: str


@dataclass(frozen=True)
class LogSpan:
    """Where the log lines of a job are: in its flow run, `since` and `until` where other attempts share that."""

    flow_run_id: UUID | None
    status: JobStatus
    completed_at: datetime | None
    since: datetime | None
    until: datetime | None


_maintenance = TypeAdapter(Maintenance)
_log_span = TypeAdapter(LogSpan)
_end_orders = TypeAdapter(list[EndOrder])


def parse(row: Any) -> Job:
    """The job of a row as PostgREST gives it.

    Rows of the published scheduler may lack times, and hold other JSON than objects: one such row must not hide the
    page of history it stands on.
    """
    made_at = row["created_at"] or row["started_at"] or row["updated_at"] or EPOCH
    shown = {name: row[name] if isinstance(row[name], dict) else None for name in ("result", "progress", "parameters")}
    return _job.validate_python({**row, **shown, "created_at": made_at, "updated_at": row["updated_at"] or made_at})


def created_at(row: dict[str, Any]) -> datetime:
    """When the job of a row was accepted, or the next best that a row of the published scheduler tells."""
    text = row["created_at"] or row["started_at"] or row["updated_at"]
    return datetime.fromisoformat(text) if text else EPOCH


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
    rate: dict[str, int] | None = None,
) -> Acceptance:
    """Writes the row, the audit entry and the idempotency key in one transaction; from then on the job exists.

    With a `rate` (perMinute, burst) the call costs the actor a turn. Raises OutOfTurns where none is left.
    """
    answer = await database.rpc(
        "accept_job",
        job={
            "job_type": job_type,
            "parameters": parameters,
            "priority": priority.value,
            "origin": origin.value,
            "started_by": started_by,
            "exclusive_key": exclusive_key,
        },
        audit={"actor": actor, "action": "trigger", "details": audit_details, "rate": rate},
        idempotency=vars(idempotency) if idempotency else None,
    )
    return _acceptance(answer)


async def retry(
    job_id: UUID,
    *,
    started_by: str | None,
    actor: str,
    idempotency: IdempotencyKey | None = None,
    rate: dict[str, int] | None = None,
) -> Retrial:
    """Accepts a failed or cancelled job's work again, as a new job with the same resolved parameters.

    `rate` as in `accept`.
    """
    answer = await database.rpc(
        "accept_job",
        job={
            "retry_of": str(job_id),
            "origin": Origin.DASHBOARD.value,
            "started_by": started_by,
            "known_types": list(JobType),
        },
        audit={"actor": actor, "action": "retry", "details": {"retryOf": str(job_id)}, "rate": rate},
        idempotency=vars(idempotency) if idempotency else None,
    )
    if answer["outcome"] == "conflict":
        return Retrial(None, answer["reason"], known=answer["job"] is not None)
    return Retrial(_acceptance(answer))


def _acceptance(answer: Any) -> Acceptance:
    outcome = answer["outcome"]
    if outcome == "limited":
        raise OutOfTurns(answer["seconds"])
    return Acceptance(parse(answer["job"]), replayed=outcome == "replayed", mismatch=outcome == "mismatch")


async def cancel(job_id: UUID, *, by: str, actor: str) -> Cancellation:
    """Cancels a pending job at once, tells a running one to stop; `by` is what the receipt holds, `actor` the audit."""
    answer = await database.rpc("cancel_job", id=str(job_id), by=by, actor=actor)
    if answer["job"] is None and (archived := await get(job_id)):
        return Cancellation("already" if archived.status is JobStatus.CANCELLED else "ended", archived)
    if answer["job"] is None:
        return Cancellation(answer["outcome"], None)
    return Cancellation(answer["outcome"], parse(answer["job"]), audited=True)


async def explain(job_id: UUID) -> dict[str, Any] | None:
    """What the database knows about why a job is where it is, as explain_job describes it; None for an unknown id."""
    found: dict[str, Any] | None = await database.rpc("explain_job", id=str(job_id))
    return found


async def maintenance() -> Maintenance:
    """What was said last about holding every start back; not paused where nobody ever said anything."""
    try:
        client = await database.client()
        answer = await client.table("maintenance").select("paused,reason,until,set_by,set_at").execute()
    except database.CALL_ERRORS as error:
        raise database.translate("read maintenance", error) from error
    return _maintenance.validate_python(answer.data[0]) if answer.data else Maintenance(paused=False)


async def set_maintenance(
    *, paused: bool, reason: str | None, until: datetime | None, set_by: str, actor: str
) -> Maintenance:
    """Holds every start back, or lets it go on; running jobs are left alone."""
    row = await database.rpc(
        "set_maintenance",
        paused=paused,
        reason=reason,
        until=until.isoformat() if until else None,
        set_by=set_by,
        actor=actor,
    )
    return _maintenance.validate_python(row)


async def get(job_id: UUID) -> Job | None:
    """The job with this id, also an archived one, or None."""
    row = await get_row(job_id)
    return parse(row) if row else None


async def get_row(job_id: UUID) -> dict[str, Any] | None:
    """The row of the job with this id, also of an archived one, or None."""
    row: dict[str, Any] | None
    (row,) = await database.read("get_job", id=str(job_id))
    return row


async def list_jobs(
    filters: dict[str, Any], *, limit: int, offset: int = 0, before: tuple[datetime, UUID] | None = None
) -> Page:
    """A page of jobs, newest first by (created_at, id), starting below `before` or after `offset` rows.

    `filters` may have types, statuses, startedBy (lists), parent, from, to, archived. The total is exact to 10,000.
    """
    (answer,) = await database.rpc(
        "list_jobs",
        filter=filters,
        limit=limit,
        offset=offset,
        before_at=before[0].isoformat() if before else None,
        before_id=str(before[1]) if before else None,
    )
    return Page(answer["jobs"], answer["total"], answer["totalIsEstimate"])


async def adopt(
    flow_run_id: UUID,
    *,
    idempotency_key: str | None,
    job_type: str,
    parameters: dict[str, Any],
    origin: Origin,
    exclusive_key: str | None,
    scheduled_at: datetime | None,
    attempt: int,
    retry: bool = True,
) -> Job:
    """The row of a flow run: the one it was dispatched for, or a new one whose id is the run's.

    A run that was set going again after its row had ended gets a row of its own, unless `retry` is False.
    """
    row = await database.rpc(
        "adopt_run",
        flow_run_id=str(flow_run_id),
        idempotency_key=idempotency_key,
        job_type=job_type,
        parameters=parameters,
        origin=origin.value,
        exclusive_key=exclusive_key,
        scheduled_at=scheduled_at.isoformat() if scheduled_at else None,
        attempt=attempt,
        retry=retry,
    )
    return parse(row)


async def first_asked_at(job_id: UUID) -> datetime:
    """When the job that this one tries again, directly or not, was scheduled or asked for."""
    return datetime.fromisoformat(await database.rpc("first_asked_at", id=str(job_id)))


async def take(
    job_id: UUID,
    *,
    flow_run_id: UUID,
    attempt: int,
    worker: str,
    parameters: dict[str, Any] | None = None,
    max_run_seconds: int | None = None,
    later_fire_at: datetime | None = None,
) -> Taken:
    """Takes the lease of a job for one run, if it may have it; `parameters` are the run's, with defaults filled in.

    `later_fire_at` is the latest fire of the run's schedule that is due as well, where there is one.
    """
    answer = await database.rpc(
        "take_job",
        id=str(job_id),
        flow_run_id=str(flow_run_id),
        attempt=attempt,
        worker=worker,
        parameters=parameters,
        max_run_seconds=max_run_seconds,
        later_fire_at=later_fire_at.isoformat() if later_fire_at else None,
    )
    return Taken(answer["decision"], answer["fence"], answer["reason"])


async def claim_dispatch(limit: int) -> list[Job]:
    """At most `limit` (1,000) jobs that need a flow run now; each is this replica's for 15 s."""
    return [parse(row) for row in await database.rpc("claim_dispatch", limit=limit)]


async def record_dispatch(job: Job, flow_run_id: UUID) -> JobStatus | None:
    """Notes the flow run made for a job and returns the job's status (None: no such job).

    A run that has been sent back since `job` was handed out is not noted any more.
    """
    status = await database.rpc(
        "record_dispatch", id=str(job.id), flow_run_id=str(flow_run_id), dispatches=job.dispatches or 0
    )
    return JobStatus(status) if status else None


async def postpone_dispatch(job_id: UUID, reason: str, seconds: int) -> None:
    """Says why a job has no flow run yet, and leaves it alone for that long."""
    await database.rpc("postpone_dispatch", id=str(job_id), reason=reason, seconds=seconds)


async def forget_flow_run(job_id: UUID, flow_run_id: UUID) -> bool:
    """Makes a pending job whose flow run is gone from Prefect due for dispatch again."""
    return bool(await database.rpc("forget_flow_run", id=str(job_id), flow_run_id=str(flow_run_id)))


async def close_unstarted(
    job_id: UUID, flow_run_id: UUID | None, status: JobStatus, error: str | None, *, died: bool = False
) -> bool:
    """Ends a pending job whose run ended, or could not be made, before any process took its lease."""
    answer = await database.rpc(
        "close_unstarted_job",
        id=str(job_id),
        flow_run_id=str(flow_run_id) if flow_run_id else None,
        status=status.value,
        error=error,
        died=died,
    )
    return bool(answer)


async def give_up_unstarted(job_id: UUID, flow_run_id: UUID, error: str) -> bool:
    """Fails a job whose run a worker took on and no process has begun; False while the database's grace lasts."""
    return bool(await database.rpc("give_up_unstarted", id=str(job_id), flow_run_id=str(flow_run_id), error=error))


async def bury(flow_run_id: UUID, worker: str, reason: str, *, by_itself: bool, cancelled: bool) -> JobStatus | None:
    """Ends the job of a process that was waited for and is gone; a no-op where the job has ended.

    `worker` is what `take` was given by that process; `by_itself` tells an end in good order from a death, `cancelled`
    that the process was ended for a cancel in Prefect. Returns the job's status then, None where there is no such job.
    """
    status = await database.rpc(
        "bury_job",
        flow_run_id=str(flow_run_id),
        worker=worker,
        reason=reason,
        by_itself=by_itself,
        cancelled=cancelled,
    )
    return JobStatus(status) if status else None


async def bury_silent(job_id: UUID, flow_run_id: UUID, locked_at: datetime, reason: str) -> bool:
    """Ends a job that Prefect calls dead, if it has not beaten since `locked_at`."""
    answer = await database.rpc(
        "bury_silent_job",
        id=str(job_id),
        flow_run_id=str(flow_run_id),
        locked_at=locked_at.isoformat(),
        reason=reason,
    )
    return bool(answer)


async def runs_to_end(flow_run_ids: Sequence[UUID]) -> list[EndOrder]:
    """Of these runs, those whose processes must be ended by the worker that has them."""
    rows = await database.rows("runs_to_end", key="flow_run_id", flow_run_ids=[str(one) for one in flow_run_ids])
    return _end_orders.validate_python(rows)


async def open_runs(after: UUID | None = None) -> list[Job]:
    """Jobs whose flow runs are to be compared with their rows, by id: the next 1,000 beyond `after`."""
    rows = await database.page("open_runs", key="id", after=str(after) if after else None, limit=_ALL)
    return [parse(row) for row in rows]


async def of_runs(flow_run_ids: Sequence[UUID]) -> list[Job]:
    """The newest job of each of these flow runs that has one."""
    rows = await database.rows("jobs_of_runs", key="id", flow_run_ids=[str(one) for one in flow_run_ids])
    return [parse(row) for row in rows]


async def close_run(job_id: UUID, flow_run_id: UUID) -> None:
    """Notes that Prefect and the row of an ended job agree."""
    await database.rpc("close_run", id=str(job_id), flow_run_id=str(flow_run_id))


async def note_put_right(job: Job, details: dict[str, Any]) -> None:
    """Audits a state that somebody changed in Prefect and that was put right; once, by its `stateId` in `details`."""
    await database.rpc("note_put_right", id=str(job.id), job_type=job.job_type, details=details)


async def reap_dead_leases() -> list[Job]:
    """Ends the jobs whose lease is dead and returns them; nothing for one lease after a gap between sweeps.

    Of more than 1,000 at once the rest is ended unsaid; `open_runs` tells of them.
    """
    return [parse(row) for row in await database.rpc("reap_dead_leases")]


async def recover_dead(limit: int, *, except_types: Sequence[str] = ()) -> list[Job]:
    """Accepts a new job for each of at most `limit` dead ones (1,000) whose time has come; returns the new ones."""
    return [parse(row) for row in await database.rpc("recover_dead_jobs", limit=limit, **{"not": list(except_types)})]


async def log_span(job_id: UUID) -> LogSpan | None:
    """Where the log of this job is, also of an archived one; None where there is no such job."""
    found = await database.rpc("job_log_span", id=str(job_id))
    if found is None:
        return None
    return _log_span.validate_python(
        {
            "flow_run_id": found["flowRunId"],
            "status": found["status"],
            "completed_at": found["completedAt"],
            "since": found["from"],
            "until": found["until"],
        }
    )
