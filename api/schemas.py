"""What goes over the wire: camelCase JSON, times in UTC ending in `Z`, every field described."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from api.estimates import completion
from flows.core.domain import Job, JobStatus, JobType, Origin, Priority
from flows.core.redaction import redact


def utc(value: datetime) -> str:
    """The time as ISO 8601 in UTC, ending in Z."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


UtcTime = Annotated[
    datetime,
    PlainSerializer(utc, return_type=str, when_used="json"),
    Field(json_schema_extra={"format": "date-time", "example": "2026-11-23T14:05:00.123456Z"}),
]


class Body(BaseModel):
    """A body that comes in: what is not known is refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", validate_by_name=False, validate_by_alias=True)


class Answer(BaseModel):
    """A body that goes out."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class ErrorBody(Answer):
    """Every error has this shape; `Accept: application/problem+json` adds `type`, `title` and `detail`."""

    error: str = Field(description="What is wrong, as a sentence")
    code: str = Field(description="Stable name of the error, for programs")
    status: int = Field(description="The HTTP status again")
    details: Any = Field(None, description="More about it where there is more: usually a list of field and message")
    request_id: str = Field(description="The X-Request-Id of this answer; quote it when you ask about it")


class Health(Answer):
    status: Literal["healthy"] = Field("healthy", description="The process answers; nothing else was looked at")
    service: Literal["scheduler-service"] = Field("scheduler-service", description="Name of this service")
    timestamp: UtcTime = Field(description="Now")


class Readiness(Answer):
    status: Literal["ready"] = Field("ready", description="Every dependency answers")
    checks: dict[str, str] = Field(description="One line a dependency: supabase, prefect and jwks")
    timestamp: UtcTime = Field(description="Now")


class Trigger(Body):
    job_type: JobType = Field(description="Which kind of job to run")
    triggered_by: str | None = Field(
        None,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Accepted and not trusted: the actor is the user of the token",
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Parameters of the job type's deployment; what is left out takes its default"
    )
    priority: Priority = Field(Priority.MEDIUM, description="Order of dispatch and queue")

    def payload(self) -> dict[str, Any]:
        """What was asked for, apart from who says to ask."""
        return self.model_dump(mode="json", exclude={"triggered_by"})

    def doubts(self, *actors: str) -> dict[str, str] | None:
        """A `triggeredBy` that is none of the actor's own ids, for the audit."""
        if self.triggered_by is None or self.triggered_by in actors:
            return None
        return {"triggeredBy": redact(self.triggered_by)}


class NoFields(Body):
    """The body of a call that takes none: `{}`, or nothing at all."""


class Accepted(Answer):
    """A job as it was accepted: normally `pending`, because it may have to wait for a worker."""

    job_id: UUID = Field(description="Id of the job")
    id: UUID = Field(description="The same id again")
    job_type: str = Field(description="Kind of job")
    status: JobStatus = Field(description="What is true at this moment")
    started_at: UtcTime | None = Field(description="When a process took it; null until then")
    created_at: UtcTime = Field(description="When it was accepted")

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            job_id=job.id,
            id=job.id,
            job_type=job.job_type,
            status=job.status,
            started_at=job.started_at,
            created_at=job.created_at,
        )


class CancelReceipt(Answer):
    requested_by: str | None = Field(description="Who asked")
    requested_at: UtcTime | None = Field(description="When it was asked for")
    stopped_at: UtcTime | None = Field(description="When the work had stopped; null while it has not")
    items_done: int | None = Field(description="Items processed until then")
    safe_to_retry: bool | None = Field(description="Whether a retry repeats no effect")

    @classmethod
    def of(cls, job: Job) -> Self | None:
        """The receipt of a job somebody asked to cancel, None for every other."""
        if job.cancel_requested_at is None:
            return None
        return cls(
            requested_by=job.cancel_requested_by,
            requested_at=job.cancel_requested_at,
            stopped_at=job.cancel_stopped_at,
            items_done=job.cancel_items_done,
            safe_to_retry=job.cancel_safe_to_retry,
        )


class JobView(Answer):
    """One execution of a job type, whoever asked for it."""

    id: UUID = Field(description="Id of the job")
    job_id: UUID = Field(description="The same id again")
    job_type: str = Field(description="Kind of job")
    status: JobStatus = Field(description="pending, running, completed, failed or cancelled")
    started_at: UtcTime | None = Field(description="When a process took it")
    completed_at: UtcTime | None = Field(description="When it ended")
    started_by: str | None = Field(
        description="Internal id of the user who triggered it; null for schedules and Prefect"
    )
    error: str | None = Field(description="Why it failed, or why it was cancelled")
    result: dict[str, Any] | None = Field(description="success, itemsProcessed, errors, details; null until the end")
    progress: dict[str, Any] | None = Field(description="itemsProcessed, itemsTotal, phase; refreshed while it runs")
    parameters: dict[str, Any] | None = Field(description="Resolved parameters")
    priority: Priority | None = Field(description="HIGH, MEDIUM or LOW")
    origin: Origin | None = Field(description="dashboard, schedule, prefect or recovery")
    retry_of: UUID | None = Field(description="The job this one tries again")
    parent_id: UUID | None = Field(description="The job this one is a shard of")
    flow_run_id: UUID | None = Field(description="Prefect's run; null until it is dispatched")
    flow_run_url: str | None = Field(description="The run's page in Prefect's UI")
    pending_reason: str | None = Field(description="What a pending job waits for")
    cancel: CancelReceipt | None = Field(description="Who asked to cancel it and what came of it; null if nobody did")
    created_at: UtcTime = Field(description="When it was accepted, or was due")
    updated_at: UtcTime = Field(description="Last change")
    estimated_completion_at: UtcTime | None = Field(
        None,
        description="When a running job can be expected to end, from earlier runs and its own progress, as of its last "
        "sign of life; null while it waits, with less than five runs to go by, and once it is overdue",
    )
    estimated_completion_from: UtcTime | None = Field(None, description="Earlier: one run in ten; null like the middle")
    estimated_completion_to: UtcTime | None = Field(None, description="Later: one run in ten; null like the middle")

    @classmethod
    def of(cls, job: Job, prefect_ui_url: str) -> Self:
        expected = completion(job, datetime.now(UTC))
        return cls(
            id=job.id,
            job_id=job.id,
            job_type=job.job_type,
            status=job.status,
            started_at=job.started_at,
            completed_at=job.completed_at,
            started_by=job.started_by,
            error=job.error,
            result=job.result,
            progress=job.progress,
            parameters=job.parameters,
            priority=job.priority,
            origin=job.origin,
            retry_of=job.retry_of,
            parent_id=job.parent_id,
            flow_run_id=job.flow_run_id,
            flow_run_url=f"{prefect_ui_url}/runs/flow-run/{job.flow_run_id}" if job.flow_run_id else None,
            pending_reason=job.pending_reason,
            cancel=CancelReceipt.of(job),
            created_at=job.created_at,
            updated_at=job.updated_at,
            estimated_completion_at=expected.middle if expected else None,
            estimated_completion_from=expected.earliest if expected else None,
            estimated_completion_to=expected.latest if expected else None,
        )


class JobPage(Answer):
    jobs: list[JobView] = Field(description="Newest first, by createdAt and id")
    total: int = Field(description="How many match; exact to 10,000")
    total_is_estimate: bool = Field(description="True where total is the database's estimate")
    page: int = Field(description="Number of this page, from 1")
    limit: int = Field(description="Most jobs a page")
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last one")


class Check(Answer):
    name: str = Field(
        description="paused, gate, dispatch, prefect, worker, run, pod, process, cancel, neighbour or recovery"
    )
    ok: bool | None = Field(
        description="false: this holds the job back, or is wrong; null: not known, because Prefect does not answer"
    )
    detail: str = Field(description="What was found, as a sentence")
    since: UtcTime | None = Field(None, description="Since when it is so; null where that is not known")


class Explanation(Answer):
    """Why a job is not running, what it is doing, or how it ended and what happens next."""

    job_id: UUID = Field(description="Id of the job")
    status: JobStatus = Field(description="pending, running, completed, failed or cancelled")
    sentence: str = Field(description="The answer in one sentence, for people")
    checks: list[Check] = Field(description="What was looked at; only what bears on a job of this status")
