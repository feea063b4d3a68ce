"""When a running job can be expected to end: what earlier runs of its type took, and how far it is itself.

The database notes on each job that starts how long it can be expected to run (`Job.estimate`: the middle 80 % and the
median of the last runs like it; absent with less than five of them). The further the job is, the more its own pace
counts. There is no estimate of a job that waits: nobody knows when a worker or the gate is free. A job that has taken
longer than nine in ten, and whose pace says nothing else, has none any more.

Everything is as of the job's last sign of life, not as of now: two reads between two beats tell the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.core.domain import Estimate, Job, JobStatus

# A beat comes every 10 s: until the next one the estimate is not in the past.
BEAT = timedelta(seconds=15)
# At half of its work a job has shown its pace to about this share of what is left.
PACE_ERROR = 0.2
# Less than this says nothing about a pace.
LEAST_SHARE, LEAST_TIME = 0.02, timedelta(seconds=2)


@dataclass(frozen=True)
class Completion:
    """The interval in which the job ends with about 80 % likelihood, and its middle."""

    earliest: datetime
    middle: datetime
    latest: datetime


def completion(job: Job, now: datetime) -> Completion | None:
    """When the job can be expected to end, never before `now`; None where nothing tells."""
    if job.status != JobStatus.RUNNING or job.started_at is None or job.estimate is None:
        return None
    if job.cancel_requested_at is not None:
        return None  # it ends when it has stopped
    alive_at = max(job.updated_at, job.started_at)
    low, middle, high = _by_pace(job.estimate, alive_at - job.started_at, _share_done(job))
    latest = job.started_at + high
    soonest = max(alive_at + BEAT, now)
    if latest <= soonest:
        return None
    earliest = max(job.started_at + low, soonest)
    # Once the median is over, all that is known is that it lies between now and the latest.
    expected = job.started_at + middle
    return Completion(earliest, expected if expected > earliest else earliest + (latest - earliest) / 2, latest)


def _share_done(job: Job) -> float:
    """How much of the job's items is done, 0 to 1; 0 where that is not known."""
    told = job.progress or {}
    done, total = told.get("itemsProcessed"), told.get("itemsTotal")
    if not isinstance(done, int) or not isinstance(total, int) or total <= 0:
        return 0.0
    return min(1.0, max(0.0, done / total))


def _by_pace(estimate: Estimate, elapsed: timedelta, share: float) -> tuple[timedelta, timedelta, timedelta]:
    """Early, middle and late duration: history at the beginning of the work, the job's own pace at its end."""
    history = (timedelta(seconds=estimate.p10), timedelta(seconds=estimate.p50), timedelta(seconds=estimate.p90))
    if share < LEAST_SHARE or elapsed < LEAST_TIME:
        return history
    left = elapsed * ((1 - share) / share)
    pace = (elapsed + left * (1 - PACE_ERROR), elapsed + left, elapsed + left * (1 + PACE_ERROR))
    low, middle, high = (one * (1 - share) + own * share for one, own in zip(history, pace, strict=True))
    return low, middle, high
