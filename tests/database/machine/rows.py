"""What the rows must say: the functions of the migrations once more, in plain Python, on a clock of ten-second ticks.

Every method is the twin of the SQL function of its name, or of nearly its name. It changes the model and returns what
the function must answer. Times are seconds of the model's own clock; the real clock may be a few seconds behind a tick
and never ahead, so a lease of 90 s is dead from the ninth tick on, in both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

TICK = 10
LEASE = 90
SWEEP_GAP = 20
HANDED_OUT = 15
RECOVER_AFTER = (30, 120, 600)
ENDED = frozenset({"completed", "failed", "cancelled"})
RANKS = {"HIGH": 1, "MEDIUM": 2, "LOW": 3}


@dataclass(eq=False, repr=False)
class Job:
    """One row of scheduled_jobs."""

    id: UUID
    name: str
    origin: str
    key: str | None
    created_at: datetime
    priority: str = "MEDIUM"
    status: str = "pending"
    run: UUID | None = None
    run_open: bool | None = None
    attempt: int = 0
    dispatches: int = 0
    not_before: int | None = None
    slot: bool = False
    fence: int = 0
    worker: str | None = None
    started_at: int | None = None
    renewed_at: int | None = None
    renewals: int = 0
    max_run: int | None = None
    given_up: bool = False
    gone_by: int | None = None
    cancel_asked: bool = False
    died: bool = False
    recover_at: int | None = None
    recoveries: int = 0
    retry_of: UUID | None = None

    def __repr__(self) -> str:
        return f"<{self.name}: {self.status}>"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:  # noqa: FBT001  # how Hypothesis prints a step
        printer.text(repr(self))

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def is_running(self) -> bool:
        return self.status == "running"

    @property
    def is_pending(self) -> bool:
        return self.status == "pending"

    @property
    def idempotency_key(self) -> str:
        return f"{self.id}/{self.dispatches}" if self.dispatches else str(self.id)

    @property
    def overtime_at(self) -> int | None:
        """When the maximum run time is over."""
        return None if self.started_at is None or self.max_run is None else self.started_at + self.max_run

    def end(self, status: str) -> None:
        self.status, self.slot, self.gone_by = status, False, None


@dataclass
class Rows:
    now: int = 0
    jobs: dict[UUID, Job] = field(default_factory=dict)
    audit: Counter[tuple[str, str, UUID, str]] = field(default_factory=Counter)
    swept_at: int | None = None
    grace_until: int = 0
    is_paused: bool = False
    paused_until: int | None = None
    is_disabled: bool = False

    # Questions

    @property
    def pause_holds(self) -> bool:
        return self.is_paused and (self.paused_until is None or self.now < self.paused_until)

    def fence_holds(self, job: Job, fence: int | None) -> bool:
        return job.is_running and job.fence == fence

    def lease_lives(self, job: Job) -> bool:
        return job.is_running and job.renewed_at is not None and self.now - job.renewed_at < LEASE

    def latest_of(self, run: UUID) -> Job | None:
        """The newest job of a flow run."""
        return max((job for job in self.jobs.values() if job.run == run), key=lambda job: job.attempt, default=None)

    def holder_of(self, key: str | None) -> Job | None:
        return next((job for job in self.jobs.values() if job.slot and job.key == key), None)

    def retries_of(self, job: Job) -> list[Job]:
        return [one for one in self.jobs.values() if one.retry_of == job.id]

    # Acceptance

    def add(self, job: Job, actor: str | None, action: str) -> Job:
        self.jobs[job.id] = job
        if actor is not None:
            self.audit[actor, action, job.id, "accepted"] += 1
        return job

    def next_name(self) -> str:
        return f"job {len(self.jobs) + 1}"

    def refuse_retry(self, job: Job, actor: str, action: str) -> str | None:
        """Why a job cannot be tried again by the dashboard or by recovery; None where it can."""
        if job.status not in ("failed", "cancelled"):
            reason = f"{job.id} is {job.status}"
        elif other := [one for one in self.retries_of(job) if one.origin in ("dashboard", "recovery")]:
            reason = f"has been retried already, as job {other[0].id}"
        else:
            return None
        self.audit[actor, action, job.id, "refused"] += 1
        return reason

    def retry(self, first: Job, new: UUID, created_at: datetime, *, origin: str) -> Job:
        first.recover_at = None
        recovers = origin == "recovery"
        job = Job(new, self.next_name(), origin, first.key, created_at, first.priority, retry_of=first.id)
        job.recoveries = first.recoveries + 1 if recovers else 0
        return self.add(job, *(("scheduler", "recover") if recovers else ("admin", "retry")))

    def adopt(
        self, run: UUID, key: str | None, origin: str, attempt: int, made: tuple[UUID, datetime], *, retry: bool
    ) -> Job:
        """`made` is the id and the time that the database chose, should a row have to be made."""
        new, created_at = made
        latest = self.latest_of(run)
        if latest is not None:
            if not (retry and self._is_set_going_again(latest, attempt)):
                return latest
            latest.recover_at, latest.run_open = None, False
            again = Job(new, self.next_name(), "prefect", "crawl", created_at, latest.priority, retry_of=latest.id)
            again.run, again.run_open, again.attempt = run, True, attempt
            return self.add(again, "prefect", "retry")
        if (asked_for := self._made_for(run, key)) is not None:
            return asked_for
        job = Job(run, self.next_name(), origin, "crawl", created_at, run=run, run_open=True)
        return self.add(job, *((None, "") if origin == "schedule" else ("prefect", "trigger")))

    def _made_for(self, run: UUID, key: str | None) -> Job | None:
        """The job that the run was created for, or the one it became."""
        return self.jobs.get(run) if key is None else self.jobs.get(UUID(key.split("/")[0]))

    def has_moved_on(self, run: UUID, key: str | None) -> bool:
        """Whether the run's job has another run, or none, by now."""
        job = self._made_for(run, key)
        return job is not None and job.run != run and self.latest_of(run) is None

    @staticmethod
    def _is_set_going_again(job: Job, attempt: int) -> bool:
        """A run that goes on after its row has ended, and not only because nobody has told it yet."""
        if not job.has_ended or attempt <= job.attempt:
            return False
        return not job.run_open or (job.attempt > 0 and job.status != "cancelled")

    # Dispatch

    def claim_dispatch(self, limit: int) -> list[Job]:
        if self.pause_holds:
            return []
        waiting = [job for job in self.jobs.values() if job.is_pending and job.run is None]
        for key in {job.key for job in waiting if job.key is not None}:
            if self.holder_of(key) is None:
                min((job for job in waiting if job.key == key), key=_order).slot = True
        ready = [job for job in waiting if job.key is None or job.slot]
        handed_out = sorted((job for job in ready if job.not_before is None or self.now >= job.not_before), key=_order)
        for job in handed_out[:limit]:
            job.not_before = self.now + HANDED_OUT
        return handed_out[:limit]

    def record_dispatch(self, job: Job, run: UUID, dispatches: int) -> str:
        if job.is_pending and job.run is None and job.dispatches == dispatches:
            job.run, job.run_open, job.attempt = run, True, 0
        return job.status

    def postpone_dispatch(self, job: Job, seconds: int) -> None:
        if job.is_pending and job.run is None:
            job.not_before = self.now + seconds

    def forget_flow_run(self, job: Job, run: UUID) -> bool:
        if not (job.is_pending and job.run == run):
            return False
        job.run, job.run_open, job.not_before = None, None, None
        return True

    # The lease

    def take(
        self, job: Job, run: UUID, attempt: int, worker: str, *, max_run: int | None, later_fire: bool
    ) -> tuple[str, int | None]:
        """The decision, and the fence where it is 'go'."""
        if job.has_ended:
            return "closed", None
        if job.run not in (None, run):
            return "taken", None
        if job.is_running:
            living = self.lease_lives(job) and not job.given_up and job.attempt == attempt and job.worker != worker
            if job.attempt > attempt or living:
                return "taken", None
            if job.cancel_asked:
                return "closed", None
        elif (decision := self._decide_at_start(job, run, attempt, later_fire=later_fire)) is not None:
            return decision, None
        job.status, job.run, job.run_open, job.attempt, job.worker = "running", run, True, attempt, worker
        job.started_at = self.now if job.started_at is None else job.started_at
        job.max_run = max_run if max_run is not None else job.max_run
        job.given_up, job.gone_by = False, None
        self._renew(job)
        job.slot, job.fence = job.key is not None, job.fence + 1
        return "go", job.fence

    def _decide_at_start(self, job: Job, run: UUID, attempt: int, *, later_fire: bool) -> str | None:
        is_fire = job.origin == "schedule"
        fires = [one for one in self.jobs.values() if one.origin == "schedule" and one.is_pending and one.run is None]
        later_waits = any(one.created_at > job.created_at for one in fires if one is not job)
        if is_fire and (self.is_disabled or later_fire or later_waits):
            return self._close_at_start(job, run, attempt)
        if self.pause_holds:
            for fire in fires if is_fire else ():
                if fire is not job:
                    fire.end("cancelled")
            return self._send_back(job)
        if self.holder_of(job.key) not in (None, job):
            return self._close_at_start(job, run, attempt) if is_fire else self._send_back(job)
        if any(one.run == run and one.attempt == attempt for one in self.jobs.values() if one is not job):
            return self._send_back(job)
        return None

    @staticmethod
    def _close_at_start(job: Job, run: UUID, attempt: int) -> str:
        job.run, job.run_open, job.attempt = run, True, attempt
        job.end("cancelled")
        return "skip"

    @staticmethod
    def _send_back(job: Job) -> str:
        job.run, job.run_open, job.slot, job.not_before = None, None, False, None
        job.dispatches += 1
        return "wait"

    def _renew(self, job: Job) -> None:
        job.renewed_at, job.renewals = self.now, job.renewals + 1

    def beat(self, job: Job, fence: int) -> str:
        if not self.fence_holds(job, fence):
            return "lost"
        self._renew(job)
        return "stop" if job.cancel_asked else "go"

    def give_up_lease(self, job: Job, fence: int, seconds: int | None) -> bool:
        if not self.fence_holds(job, fence):
            return False
        self._renew(job)
        job.fence, job.given_up = fence + 1, True
        job.gone_by = None if seconds is None else self.now + seconds
        return True

    # Ends

    def finish(self, job: Job, fence: int, status: str) -> bool:
        if not self.fence_holds(job, fence):
            return False
        job.end(status)
        return True

    def cancel(self, job: Job, actor: str) -> str:
        asked_before = job.cancel_asked
        if job.is_pending:
            outcome = "cancelled"
            job.end("cancelled")
        elif job.is_running:
            outcome = "cancelling"
        else:
            outcome = "already" if job.status == "cancelled" else "ended"
        if outcome in ("cancelled", "cancelling"):
            job.cancel_asked = True
        if actor != "prefect" or not (asked_before or outcome in ("already", "ended")):
            self.audit[actor, "cancel", job.id, "refused" if outcome == "ended" else outcome] += 1
        return outcome

    def end_without_process(self, job: Job, alive_until: int) -> str:
        if job.cancel_asked:
            job.end("cancelled")
        elif job.overtime_at is not None and alive_until >= job.overtime_at:
            job.end("failed")
        else:
            self._die(job)
        return job.status

    def _die(self, job: Job) -> None:
        job.end("failed")
        job.died = True
        tried_by_hand = job.origin == "prefect" and job.retry_of is not None
        if not tried_by_hand and job.recoveries < len(RECOVER_AFTER):
            job.recover_at = self.now + RECOVER_AFTER[job.recoveries]

    def bury(self, run: UUID, worker: str, *, by_itself: bool, cancelled: bool) -> str | None:
        job = self.latest_of(run)
        if job is None or (job.is_running and job.worker != worker):
            return None
        if job.is_pending and any(one.run == run and one.worker == worker for one in self.jobs.values()):
            return None
        if cancelled and not job.has_ended:
            self.cancel(job, "prefect")
        if job.is_running:
            return self.end_without_process(job, self.now if job.renewed_at is None else job.renewed_at)
        if job.is_pending and not by_itself:
            self._die(job)
        return job.status

    def bury_silent(self, job: Job, run: UUID, renewals: int) -> bool:
        if not (job.is_running and job.run == run and job.renewals == renewals and job.renewed_at is not None):
            return False
        self.end_without_process(job, job.renewed_at)
        return True

    def close_unstarted(self, job: Job, run: UUID | None, status: str, *, died: bool) -> bool:
        if not (job.is_pending and job.run == run):
            return False
        if died:
            self._die(job)
        else:
            job.end(status)
        if status == "cancelled":
            job.cancel_asked = True
            self.audit["prefect", "cancel", job.id, "cancelled"] += 1
        return True

    def give_up_unstarted(self, job: Job, run: UUID) -> bool:
        swept_lately = self.swept_at is not None and self.now - self.swept_at < SWEEP_GAP
        return swept_lately and self.now >= self.grace_until and self.close_unstarted(job, run, "failed", died=True)

    def reap(self) -> list[Job]:
        """The jobs a sweep ends now."""
        if self.swept_at is None or self.now - self.swept_at >= SWEEP_GAP:
            self.grace_until = self.now + LEASE
        self.swept_at = self.now
        ended = []
        for job in [job for job in self.jobs.values() if job.is_running]:
            if (alive_until := self._dead_since(job, grace=self.now < self.grace_until)) is not None:
                self.end_without_process(job, alive_until)
                ended.append(job)
        return ended

    def _dead_since(self, job: Job, *, grace: bool) -> int | None:
        """Until when the process of a job that is to be ended showed life; None where it is not to be ended."""
        if job.gone_by is not None and self.now >= job.gone_by:
            return job.renewed_at
        if grace:
            return None
        if not self.lease_lives(job):
            return job.renewed_at
        far_over = job.overtime_at is not None and self.now >= job.overtime_at + 60
        beat_after_it = far_over and job.renewed_at is not None and job.renewed_at >= (job.overtime_at or 0)
        return job.renewed_at if beat_after_it else None

    def due_for_recovery(self) -> list[Job]:
        """Dead jobs whose time has come."""
        return [job for job in self.jobs.values() if job.recover_at is not None and self.now >= job.recover_at]

    def close_run(self, job: Job, run: UUID) -> None:
        if job.run == run and job.run_open and job.has_ended:
            job.run_open = False


def _order(job: Job) -> tuple[int, datetime]:
    return RANKS[job.priority], job.created_at


def living(jobs: Iterable[Job]) -> list[Job]:
    """Those that have not ended."""
    return [job for job in jobs if not job.has_ended]
