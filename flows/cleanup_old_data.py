"""Keeps the database from growing for ever, without losing a number or a job that somebody may still ask for.

When: every night at two, and when an admin asks.
Deletes user_interactions older than two years (their number goes to purged_interactions in the same statement) and our
own rows whose time is over; moves jobs that ended more than 90 days ago to scheduled_jobs_archive; adds up the daily
numbers about jobs that are older than two years; takes the e-mail ids of deleted users out of the mail ledger. Then
recounts and rescores everything, as update_metrics and recalculate_trending do.

Safe to run twice, beside itself and to be killed: each batch is one statement that deletes and keeps the number, or
moves, or neither; whatever a run leaves, the next one takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flows.core.counting import recount
from flows.core.domain import JobResult, JobType
from flows.core.job import job
from flows.core.maintenance import Limits, Pace, Tally, Walk, begin
from flows.core.trending import MOVED, rescore, scored_as_of

# Tables of ours whose rows are kept for a time; how long is written in the database's forget_expired.
EXPIRING = ("email_deliveries", "scheduler_audit", "scheduled_jobs_archive", "idempotency_keys", "job_events")


class Parameters(Limits):
    """What every maintenance job can be told."""


@dataclass(frozen=True)
class Cleanup:
    """One run: its time, what it has done so far, whether it only looks."""

    as_of: datetime
    tally: Tally
    dry_run: bool

    async def walk(self, function: str, step: str, pace: Pace, **parameters: Any) -> int:
        """How many rows one function has done from end to end."""
        given = {"as_of": self.as_of.isoformat(), "dry_run": self.dry_run, **parameters}
        return await Walk(function, pace, given).to_the_end(self.tally, step)

    async def purge(self) -> int:
        """How many interactions it has deleted."""
        return await self.walk("purge_interactions", "interactions deleted", Pace(5000, 500, 500_000))

    async def archive(self) -> int:
        """How many jobs it has moved to the archive."""
        return await self.walk("archive_jobs", "jobs archived", Pace(5000, 100, 200_000))


async def clean(parameters: Parameters) -> JobResult:
    """Everything in its order, and what came of it."""
    run = Cleanup(await begin(dry_run=parameters.dry_run), Tally(parameters.max_batch), parameters.dry_run)
    details: dict[str, Any] = {
        "dryRun": run.dry_run,
        "interactionsDeleted": await run.purge(),
        "jobsArchived": await run.archive(),
        "expired": {
            table: await run.walk("forget_expired", f"expired in {table}", Pace(5000, 500, 500_000), what=table)
            for table in EXPIRING
        },
        "statisticsFolded": await run.walk("fold_job_stats", "rows of statistics folded", Pace(5000, 500, 50_000)),
        "emailIdsForgotten": await run.walk("forget_email_ids", "e-mail ids forgotten", Pace(20_000, 1000, 500_000)),
        **await refresh(run),
    }
    return JobResult(run.tally.total, details=details)


async def refresh(run: Cleanup) -> dict[str, int]:
    """Recounts and rescores everything. A dry run scores with what it has counted, as it has not written it."""
    as_of = scored_as_of(run.as_of)
    if run.dry_run:
        found = await recount(run.tally, full=True, dry_run=True, look=lambda: _would_rescore(run, as_of))
    else:
        found = await recount(run.tally, full=True)
        await rescore(run.tally, as_of)
    return {"metricsUpdated": found.changed, "scoresMoved": run.tally.done[MOVED]}


async def _would_rescore(run: Cleanup, as_of: datetime) -> None:
    await rescore(run.tally, as_of, dry_run=True, counted=True)


@job(JobType.CLEANUP_OLD_DATA, max_run_time=timedelta(hours=6))
async def cleanup_old_data(parameters: Parameters) -> JobResult:
    """Clean Up Old Data.

    Deletes interactions older than two years, archives old jobs, and recounts and rescores everything.
    """
    return await clean(parameters)
