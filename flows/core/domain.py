"""The scheduler's vocabulary: everything else is written in these words and imports them from here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

MAX_REPORTED_ERRORS = 50


class JobType(StrEnum):
    """A kind of work; the value is its only spelling: module, flow, deployment, row and JSON."""

    CRAWL_PENDING = "crawl_pending"  # fetches pages that were discovered and not looked at yet
    WEEKLY_DIGEST = "weekly_digest"  # mails readers discoveries they have not seen, once a week
    SUBMISSION_NOTIFICATIONS = "submission_notifications"  # mails submitters what became of their pages
    MODERATION_UPDATES = "moderation_updates"  # mails reporters what was decided
    CLEANUP_OLD_DATA = "cleanup_old_data"  # deletes and archives what is old
    UPDATE_METRICS = "update_metrics"  # recounts views, likes, saves and shares
    RECALCULATE_TRENDING = "recalculate_trending"  # scores discoveries and chooses the trending ones


class JobStatus(StrEnum):
    PENDING = "pending"  # accepted; waiting for Prefect, a worker or a slot
    RUNNING = "running"  # a process holds, or held, the lease
    COMPLETED = "completed"  # ended; some items may have failed
    FAILED = "failed"  # ended by an error, or died
    CANCELLED = "cancelled"  # stopped because somebody asked, or a schedule that was skipped

    @property
    def has_ended(self) -> bool:
        """True for the statuses a row never leaves."""
        return self in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class Priority(StrEnum):
    """Order of dispatch, and by its lower-case name the work queue."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"

    @property
    def work_queue(self) -> str:
        """Name of the work queue that runs of this priority wait in."""
        return self.value.lower()


class Origin(StrEnum):
    DASHBOARD = "dashboard"  # a trigger through the shim
    SCHEDULE = "schedule"  # a deployment's cron
    PREFECT = "prefect"  # somebody in Prefect's UI or CLI
    RECOVERY = "recovery"  # tried again after a job died


@dataclass(frozen=True)
class Progress:
    """How far a running job is; `items_total` is None while nobody can know it."""

    items_processed: int
    items_total: int | None
    phase: str

    def to_json(self) -> dict[str, Any]:
        """The shape of the `progress` column."""
        return {"itemsProcessed": self.items_processed, "itemsTotal": self.items_total, "phase": self.phase}


@dataclass(frozen=True)
class JobResult:
    """What a job did. `error` makes the job failed; without one it is completed, whatever single items did.

    `items_processed` counts items that succeeded plus items that failed. `errors` has one entry for each failed item.
    """

    items_processed: int
    errors: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The shape of the `result` column: at most 50 errors, `details.errorsTruncated` says how many were cut."""
        details = dict(self.details)
        errors = self.errors if self.error is None else [self.error, *self.errors]
        if len(errors) > MAX_REPORTED_ERRORS:
            details["errorsTruncated"] = len(errors) - MAX_REPORTED_ERRORS
        return {
            "success": self.error is None,
            "itemsProcessed": self.items_processed,
            "errors": errors[:MAX_REPORTED_ERRORS],
            "details": details,
        }


@dataclass(frozen=True)
class Estimate:
    """How many seconds a job was expected to run when it started: the middle 80 % and the median of earlier runs."""

    p10: float
    p50: float
    p90: float
    runs: int


@dataclass(frozen=True)
class Job:
    """A row of `scheduled_jobs`; the columns' meanings are spec'd in the first migration."""

    id: UUID
    job_type: str
    status: JobStatus
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    started_by: str | None = None
    error: str | None = None
    result: dict[str, Any] | None = None
    origin: Origin | None = None
    flow_run_id: UUID | None = None
    attempt: int | None = None
    parameters: dict[str, Any] | None = None
    priority: Priority | None = None
    retry_of: UUID | None = None
    parent_id: UUID | None = None
    progress: dict[str, Any] | None = None
    pending_reason: str | None = None
    exclusive_key: str | None = None
    slot_held: bool | None = None
    locked_by: str | None = None
    locked_at: datetime | None = None
    fence: int | None = None
    dispatches: int | None = None
    died: bool | None = None
    recover_at: datetime | None = None
    recoveries: int | None = None
    run_open: bool | None = None
    lease_ends_at: datetime | None = None
    lease_note: str | None = None
    max_run_seconds: int | None = None
    slot_since: datetime | None = None
    cancel_requested_by: str | None = None
    cancel_requested_at: datetime | None = None
    cancel_stopped_at: datetime | None = None
    cancel_items_done: int | None = None
    cancel_safe_to_retry: bool | None = None
    estimate: Estimate | None = None

    @property
    def idempotency_key(self) -> str:
        """What makes Prefect create one run for this job: its id, and a counter once a run was given up."""
        return f"{self.id}/{self.dispatches}" if self.dispatches else str(self.id)
