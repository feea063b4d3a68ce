"""What came of earlier jobs: numbers that the database keeps by day, and the newest job of each type.

Each function is one call of one SQL function, and costs the same with ten thousand jobs and with ten million.
Errors: `Unavailable` while the database cannot answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from pydantic import TypeAdapter

from flows.clients import database
from flows.core.domain import Job
from flows.core.scheduled_jobs import parse
from flows.core.schedules import Override


@dataclass(frozen=True)
class TypeHistory:
    """One job type: its newest job and what waits and runs now; rate and median (of completed jobs) of some days."""

    last_job: Job | None
    success_rate: float | None
    median_seconds: float | None
    running: int
    queued: int


def share(some: int, of_all: int) -> float | None:
    """How much of all some are, 0 to 1; None of nothing."""
    return some / of_all if of_all else None


async def overview(days: int = 30) -> dict[str, TypeHistory]:
    """The history of every type that has, or had, a job; rate and median of the last UTC days, today included."""
    answer = await database.rpc("job_types_overview", days=days)
    return {
        job_type: TypeHistory(
            last_job=parse(told["last"]) if told["last"] else None,
            success_rate=share(told["completed"], told["completed"] + told["failed"]),
            median_seconds=told["medianSeconds"],
            running=told["running"],
            queued=told["queued"],
        )
        for job_type, told in answer.items()
    }


@dataclass(frozen=True)
class EndedJobs:
    """Jobs that ended in some days.

    Durations are of completed jobs, None without any; median and p90 are within 4.8 %.
    """

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int = 0
    items: int = 0
    average_seconds: float | None = None
    median_seconds: float | None = None
    p90_seconds: float | None = None
    estimates: int = 0
    hits: int = 0


@dataclass(frozen=True)
class OpenJobs:
    """Jobs that wait and run now."""

    pending: int = 0
    running: int = 0


@dataclass(frozen=True)
class Day:
    """Jobs that ended on a UTC day; what a schedule skipped is not among them."""

    day: date
    completed: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass(frozen=True)
class History:
    """Jobs by type; `daily` leaves days out on which none ended, `today` is the database's."""

    today: date
    overall: EndedJobs
    ended: dict[str, EndedJobs]
    open: dict[str, OpenJobs]
    daily: dict[str, list[Day]]


@dataclass(frozen=True)
class EndedTotals:
    """All jobs of a type that ever ended in one way; `timed` of them took `seconds` together."""

    job_type: str
    outcome: str
    jobs: int
    items: int
    timed: int
    seconds: float
    estimates: int
    hits: int
    last_at: datetime


@dataclass(frozen=True)
class OpenTotals:
    """Jobs of a type that wait and run now; `oldest_pending_seconds` is None where none waits."""

    job_type: str
    pending: int
    running: int
    oldest_pending_seconds: float | None


@dataclass(frozen=True)
class RunningTotals:
    """The job of a type that runs longest, and how much of its maximum run time the one nearest to it has used."""

    job_type: str
    longest_seconds: float
    share_used: float | None


@dataclass(frozen=True)
class EventTotals:
    """How often something has happened (`monitored_events`); `seconds` is the lateness of scheduled starts together."""

    what: str
    job_type: str
    outcome: str
    events: int
    seconds: float


@dataclass(frozen=True)
class Totals:
    """What monitoring asks for: sums of all time, this moment, and what says when a type is to run.

    `resumed_at` is when starts were last allowed again, `deployed_at` when a type's deployment was last seen changed.
    """

    ended: list[EndedTotals]
    open: list[OpenTotals]
    running: list[RunningTotals]
    events: list[EventTotals]
    overrides: list[Override]
    paused: str | None
    resumed_at: datetime | None
    deployed_at: dict[str, datetime]


_history = TypeAdapter(History)
_totals = TypeAdapter(Totals)


async def stats(days: int) -> History:
    """Numbers of the last UTC days, today included, and of this moment."""
    return _history.validate_python(await database.rpc("job_stats", days=days))


async def totals() -> Totals:
    """Numbers for monitoring. What is counted of all time only grows."""
    return _totals.validate_python(await database.rpc("job_totals"))
