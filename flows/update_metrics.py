"""Keeps the numbers people see beside a discovery true: views, likes, saves, shares, and the engagement rate.

When: five minutes past every hour, and when an admin asks; cleanup_old_data does the same, in full, every night.
Reads: user_interactions, and our purged_interactions for those that were deleted for their age. Writes:
content_metrics, and the four counts on discoveries, where they differ from what was counted.

views_count counts views with a user (one a user and discovery), total_views_count and discoveries.view_count all.

Safe to run twice, beside cleanup and to be killed: numbers are counted, never added to, so that whatever a run leaves
unwritten the next one writes; a second run finds nothing that differs. One counting goes on at a time.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from flows.core import maintenance
from flows.core.counting import recount
from flows.core.domain import JobResult, JobType
from flows.core.job import job


class Parameters(maintenance.Limits):
    full: bool = Field(False, description="Count for every discovery, not only for those with new interactions.")


async def update(parameters: Parameters) -> JobResult:
    """Recounts, and tells what came of it."""
    await maintenance.begin(dry_run=parameters.dry_run)
    found = await recount(maintenance.Tally(parameters.max_batch), full=parameters.full, dry_run=parameters.dry_run)
    return JobResult(
        found.changed,
        details={"metricsUpdated": found.changed, "full": found.full, "dryRun": parameters.dry_run},
    )


@job(JobType.UPDATE_METRICS, max_run_time=timedelta(minutes=60))
async def update_metrics(parameters: Parameters) -> JobResult:
    """Update Metrics.

    Recounts views, likes, saves and shares of discoveries from what people have done.
    """
    return await update(parameters)
