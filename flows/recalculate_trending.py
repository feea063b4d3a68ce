"""Decides what is trending: a score for every discovery, and the hundred best of an hour, a day and a week.

When: every quarter of an hour, and when an admin asks; cleanup_old_data does the same every night.
Reads: discoveries and content_metrics. Writes: discoveries.trending_score (the 24h score) where it moves, and
trending_content, all windows in one transaction; a window for which nothing qualifies keeps what it has.

Safe to run twice, beside itself and to be killed: a score depends on counts and on the minute alone, and what it falls
by in a minute or two is not worth a new row, so that a second run right after the first writes nothing; one that was
killed has left scores that the next one completes.
"""

from __future__ import annotations

import math
from datetime import timedelta

from flows.core import maintenance
from flows.core.domain import JobResult, JobType
from flows.core.job import job
from flows.core.trending import rescore, scored_as_of

LEAST_SCORE = 0.01  # of what is admitted


class Parameters(maintenance.Limits):
    """What every maintenance job can be told."""


def trending_score(*, likes: int, saves: int, shares: int, views: int, age_days: float, window: str) -> float:
    """The score in a window, 0 to 1: what the database's trending_score must give; negative ages count as 0."""
    age = max(0.0, age_days)
    seen = max(1, views)
    velocity = (likes + saves + shares) / seen
    weight = (3 * likes + 4 * saves + 5 * shares + 0.1 * seen) / max(1.0, 0.5 * seen)
    longest, rate = {"1h": (1.0, 4.0), "24h": (7.0, 1 / 2), "7d": (30.0, 1 / 7)}[window]
    decay = 0.0 if age > longest else math.exp(-rate * age)
    return min(1.0, 5 * velocity * weight * decay)


def is_admitted(*, likes: int, saves: int, shares: int, score: float) -> bool:
    """Whether an active discovery with these counts may trend in the window of this score."""
    return likes + saves + shares > 0 and score > LEAST_SCORE


async def recalculate(parameters: Parameters) -> JobResult:
    """Rescores, and tells what came of it."""
    as_of = scored_as_of(await maintenance.begin(dry_run=parameters.dry_run))
    found = await rescore(maintenance.Tally(parameters.max_batch), as_of, dry_run=parameters.dry_run)
    return JobResult(
        found.moved,
        details={
            "scoresMoved": found.moved,
            "windowsChanged": found.windows,
            "asOf": as_of.isoformat().replace("+00:00", "Z"),
            "dryRun": parameters.dry_run,
        },
    )


@job(JobType.RECALCULATE_TRENDING, max_run_time=timedelta(minutes=10))
async def recalculate_trending(parameters: Parameters) -> JobResult:
    """Recalculate Trending.

    Scores discoveries by their age and by what people do with them, and chooses those that trend.
    """
    return await recalculate(parameters)
