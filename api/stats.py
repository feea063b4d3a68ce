"""The answer of `GET /api/jobs/stats`: numbers about jobs, of each type and of all together."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas import Answer
from flows.core.domain import JobType
from flows.core.history import Day, EndedJobs, History, OpenJobs, share

_DURATION = "of completed jobs, in seconds; null without any"
_WITHIN = "exact to 5 %: it is kept as a histogram"


class StatsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    days: int = Field(30, ge=1, le=365, description="How many days back, by UTC; today is one of them")


class Counts(Answer):
    """Jobs by status: those that wait or run now, and those that ended in the days asked for."""

    pending: int = Field(description="Jobs that wait now")
    running: int = Field(description="Jobs that run now")
    completed: int = Field(description="Jobs that completed")
    failed: int = Field(description="Jobs that failed")
    cancelled: int = Field(description="Jobs that somebody cancelled")
    skipped: int = Field(description="Runs of a schedule that were not to start: cancelled as well, and in no rate")


class Numbers(Answer):
    counts: Counts = Field(description="Jobs by status")
    success_rate: float | None = Field(description="completed / (completed + failed), 0 to 1; null without either")
    average_seconds: float | None = Field(description=f"Average duration {_DURATION}")
    median_seconds: float | None = Field(description=f"Median duration {_DURATION}; {_WITHIN}")
    p90_seconds: float | None = Field(description=f"Duration that nine in ten stay under, {_DURATION}; {_WITHIN}")
    items_processed: int = Field(description="Items that these jobs processed, succeeded and failed ones")
    queue_depth: int = Field(description="Jobs that wait now")
    running: int = Field(description="Jobs that run now")
    estimates: int = Field(description="Completed and failed jobs that had an estimate when they started")
    estimate_hit_rate: float | None = Field(
        description="The share of these that ended within it, 0 to 1; null without any"
    )


class DayNumbers(Answer):
    """One day, by UTC, on which jobs ended."""

    day: date = Field(alias="date", description="The day")
    completed: int = Field(description="Jobs that completed")
    failed: int = Field(description="Jobs that failed")
    cancelled: int = Field(description="Jobs that somebody cancelled")


class TypeNumbers(Numbers):
    job_type: str = Field(description="Kind of job")
    daily: list[DayNumbers] = Field(description="One for each day asked for, the oldest first")


class JobStats(Answer):
    days: int = Field(description="How many days back")
    from_: date = Field(alias="from", description="The first day")
    to: date = Field(description="Today")
    overall: Numbers = Field(description="Jobs of all types")
    types: list[TypeNumbers] = Field(description="Each job type, and each other that jobs have")

    @classmethod
    def of(cls, history: History, days: int) -> Self:
        first = history.today - timedelta(days=days - 1)
        every = [first + timedelta(days=number) for number in range(days)]
        names = list(JobType) + sorted({*history.ended, *history.open, *history.daily} - set(JobType))
        everywhere = OpenJobs(
            sum(one.pending for one in history.open.values()), sum(one.running for one in history.open.values())
        )
        return cls(
            days=days,
            from_=first,
            to=history.today,
            overall=Numbers(**_numbers(history.overall, everywhere)),
            types=[_of_type(name, history, every) for name in names],
        )


def _of_type(name: str, history: History, every: list[date]) -> TypeNumbers:
    told = {one.day: one for one in history.daily.get(name, [])}
    days = [told.get(one) or Day(one) for one in every]
    return TypeNumbers(
        job_type=name,
        daily=[
            DayNumbers(day=one.day, completed=one.completed, failed=one.failed, cancelled=one.cancelled) for one in days
        ],
        **_numbers(history.ended.get(name, EndedJobs()), history.open.get(name, OpenJobs())),
    )


def _numbers(ended: EndedJobs, still: OpenJobs) -> dict[str, object]:
    return {
        "counts": Counts(
            pending=still.pending,
            running=still.running,
            completed=ended.completed,
            failed=ended.failed,
            cancelled=ended.cancelled,
            skipped=ended.skipped,
        ),
        "success_rate": share(ended.completed, ended.completed + ended.failed),
        "average_seconds": ended.average_seconds,
        "median_seconds": ended.median_seconds,
        "p90_seconds": ended.p90_seconds,
        "items_processed": ended.items,
        "queue_depth": still.pending,
        "running": still.running,
        "estimates": ended.estimates,
        "estimate_hit_rate": share(ended.hits, ended.estimates),
    }
