"""Numbers about jobs: counted when each ends, whoever ends it, and the same as counting the rows."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from sandbox.stack import Stack
from tests.database.conftest import Scheduler
from tests.maintenance import Maintenance

SUMS = """
select day, job_type, outcome, sum(jobs) as jobs, sum(items) as items, sum(timed) as timed,
    round(sum(seconds)::numeric, 3) as seconds, public.histograms(durations)::text as durations,
    sum(estimates) as estimates, sum(hits) as hits, max(last_at) as last_at
  from public.job_stats_daily group by day, job_type, outcome order by day, job_type, outcome
"""
TYPES = ["crawl_pending", "weekly_digest", "of an earlier scheduler"]
# Half the width of a bucket, as job_stats_daily says.
ERROR = 0.1 / 2.1 + 1e-9


@pytest.fixture
async def stats(scheduler: Scheduler) -> Scheduler:
    await scheduler.connection.execute("truncate public.job_stats_daily, public.scheduled_jobs_archive")
    return scheduler


async def sums(scheduler: Scheduler) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await scheduler.connection.fetch(SUMS)]


async def outcomes(scheduler: Scheduler) -> dict[str, int]:
    rows = await scheduler.connection.fetch(
        "select outcome, sum(jobs)::int from public.job_stats_daily group by outcome"
    )
    return dict(tuple(row) for row in rows)


async def add(scheduler: Scheduler, rows: list[dict[str, Any]]) -> None:
    """Rows written by hand, in one statement."""
    await scheduler.connection.execute(
        """insert into public.scheduled_jobs
           select (jsonb_populate_record(null::public.scheduled_jobs, r)).*
             from jsonb_array_elements($1) r""",
        [{"id": str(uuid4()), **row} for row in rows],
    )


def random_end(rng: random.Random) -> dict[str, Any]:
    ended = datetime.now(UTC) - timedelta(days=rng.random() * 45, seconds=1)
    lasted = math.exp(rng.uniform(-8, 9))
    return {
        "job_type": rng.choice(TYPES),
        "status": rng.choices(["completed", "failed", "cancelled"], [8, 1, 1])[0],
        "created_at": (ended - timedelta(days=1)).isoformat(),
        "started_at": (ended - timedelta(seconds=lasted)).isoformat() if rng.random() < 0.9 else None,
        "completed_at": ended.isoformat(),
        "result": {"itemsProcessed": rng.randrange(1000)} if rng.random() < 0.9 else None,
    }


def rank(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(len(values) * share) - 1]


@pytest.mark.parametrize("seed", range(3))
async def test_the_numbers_are_those_of_the_rows(stats: Scheduler, seed: int) -> None:
    rng = random.Random(seed)
    rows = [random_end(rng) for _ in range(2000)]
    for part in range(0, 2000, 500):
        await add(stats, rows[part : part + 500])
    first = datetime.now(UTC).date() - timedelta(days=29)
    within = [one for one in rows if datetime.fromisoformat(one["completed_at"]).date() >= first]
    for told in await stats.rows("job_stats_by_type", days=30):
        of_type = [one for one in within if told["job_type"] in (None, one["job_type"])]
        counted = Counter(one["status"] for one in of_type)
        assert {name: told[name] for name in counted} == counted
        assert told["items"] == sum((one["result"] or {}).get("itemsProcessed", 0) for one in of_type)
        lasted = [
            (datetime.fromisoformat(one["completed_at"]) - datetime.fromisoformat(one["started_at"])).total_seconds()
            for one in of_type
            if one["status"] == "completed" and one["started_at"]
        ]
        assert told["average_seconds"] == pytest.approx(sum(lasted) / len(lasted))
        assert told["median_seconds"] == pytest.approx(rank(lasted, 0.5), rel=ERROR)
        assert told["p90_seconds"] == pytest.approx(rank(lasted, 0.9), rel=ERROR)
    kept = await sums(stats)
    await stats.call("recount_job_stats")
    assert await sums(stats) == kept


@pytest.mark.parametrize("lasted", [0, 0.0004, 0.001, 0.5, 1, 1.1, 59.9, 3600, 86_400, 40_000_000])
async def test_a_duration_is_told_within_the_stated_error(stats: Scheduler, lasted: float) -> None:
    now = datetime.now(UTC)
    row = {"job_type": "crawl_pending", "status": "completed", "completed_at": now.isoformat()}
    await add(stats, [row | {"started_at": (now - timedelta(seconds=lasted)).isoformat()}])
    told = (await stats.rows("job_stats_by_type", days=1))[0]["median_seconds"]
    # From a thousandth of a second to a year; what is outside counts as that.
    assert told == pytest.approx(min(max(lasted, 0.001), 3e7), rel=ERROR)


async def test_every_way_to_end_counts_once(stats: Scheduler) -> None:
    job, fence = await stats.running()
    await stats.finish(job, fence)
    await stats.finish(job, fence)  # its first answer was lost
    job, fence = await stats.running()
    await stats.finish(job, fence, "failed", "an error")
    await stats.call("cancel_job", id=await stats.accept(), by="somebody", actor="somebody")
    job = await stats.accept()
    await stats.call("close_unstarted_job", id=job, flow_run_id=None, status="failed", error="no such deployment")
    job, fence = await stats.running()
    await stats.age_lease(job, 91)
    await stats.sweep_without_grace()
    assert await outcomes(stats) == {"completed": 1, "failed": 3, "cancelled": 1}
    kept = await sums(stats)
    await stats.call("recount_job_stats")
    assert await sums(stats) == kept


async def test_what_a_schedule_skips_counts_in_no_rate(stats: Scheduler) -> None:
    await stats.running()
    skipped = await stats.adopt("schedule", scheduled_at=datetime.now(UTC))
    assert (await stats.take(skipped))["decision"] == "skip"
    superseded = await stats.adopt("schedule", exclusive_key="another", scheduled_at=datetime.now(UTC))
    taken = await stats.call(
        "take_job", id=superseded, flow_run_id=superseded, attempt=1, worker="w", later_fire_at=datetime.now(UTC)
    )
    assert taken["decision"] == "skip"
    assert await outcomes(stats) == {"skipped": 2}
    (told, _all) = await stats.rows("job_stats_by_type", days=1)
    assert (told["completed"], told["failed"], told["cancelled"], told["skipped"]) == (0, 0, 0, 2)


async def test_an_estimate_that_came_true_is_a_hit(stats: Scheduler) -> None:
    now = datetime.now(UTC)
    row = {"job_type": "crawl_pending", "status": "completed", "completed_at": now.isoformat()}
    estimate = {"p10": 10, "p50": 20, "p90": 30, "runs": 9}
    for lasted, known in ((9, True), (10, True), (30, True), (31, True), (20, False)):
        started = {"started_at": (now - timedelta(seconds=lasted)).isoformat()}
        await add(stats, [row | started | ({"estimate": estimate} if known else {})])
    (told, _all) = await stats.rows("job_stats_by_type", days=1)
    assert (told["estimates"], told["hits"]) == (4, 2)


@pytest.mark.parametrize(
    "row",
    [
        {"result": "a text"},
        {"result": {"itemsProcessed": "many"}},
        {"result": {"itemsProcessed": -1e300}},
        {"result": {"itemsProcessed": 1e300}},
        {"completed_at": "infinity", "started_at": "-infinity"},
        {"completed_at": "-infinity", "created_at": None, "updated_at": None},
        {"completed_at": "2026-11-23T00:00:00Z", "started_at": "2026-11-24T00:00:00Z"},
        {"completed_at": "2026-11-23T00:00:00Z", "started_at": "0001-01-01T00:00:00Z"},
    ],
)
async def test_no_value_keeps_a_job_from_ending(stats: Scheduler, row: dict[str, Any]) -> None:
    await add(stats, [{"job_type": "crawl_pending", "status": "failed", **row}])
    assert await outcomes(stats) == {"failed": 1}
    await stats.call("job_stats", days=30)
    await stats.call("job_totals")


async def test_thousands_that_one_statement_ends_are_one_count(stats: Scheduler) -> None:
    await add(stats, [{"job_type": "crawl_pending", "status": "running"}] * 20_000)
    began = time.monotonic()
    await stats.connection.execute("update public.scheduled_jobs set status = 'failed' where status = 'running'")
    assert time.monotonic() - began < 15
    assert await outcomes(stats) == {"failed": 20_000}
    assert await stats.connection.fetchval("select count(*) from public.job_stats_daily") == 1


@pytest.fixture
async def many(database: Stack) -> AsyncIterator[list[asyncpg.Connection[asyncpg.Record]]]:
    connections = [await asyncpg.connect(database.wiring.database_url) for _ in range(40)]
    yield connections
    for connection in connections:
        await connection.close()


async def test_many_ends_at_once_neither_wait_nor_deadlock(
    stats: Scheduler, many: list[asyncpg.Connection[asyncpg.Record]]
) -> None:
    # More than there are slots; each ends jobs of all types in its own order, and commits when all have: a wait for
    # another's row would last until it is given up.
    for connection in many:
        await connection.execute("set lock_timeout = '3s'")
    all_of_them = asyncio.Barrier(len(many))

    async def end_some(number: int, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        for _ in range(3):
            async with connection.transaction():
                for turn in range(3):
                    await connection.execute(
                        "insert into public.scheduled_jobs (job_type, status, completed_at)"
                        " values ($1, 'completed', now())",
                        TYPES[(number + turn) % 3],
                    )
                await all_of_them.wait()

    await asyncio.gather(*(end_some(number, connection) for number, connection in enumerate(many)))
    assert await outcomes(stats) == {"completed": len(many) * 9}
    kept = await sums(stats)
    await stats.call("recount_job_stats")
    assert await sums(stats) == kept


async def test_what_ended_uncounted_is_counted_once_beside_what_ends_meanwhile(
    stats: Scheduler, many: list[asyncpg.Connection[asyncpg.Record]]
) -> None:
    rng = random.Random(4)
    await stats.connection.execute("alter table public.scheduled_jobs disable trigger user")
    await add(stats, [random_end(rng) for _ in range(3000)])
    await stats.connection.execute("alter table public.scheduled_jobs enable trigger user")
    assert await outcomes(stats) == {}

    async def go_on_ending(connection: asyncpg.Connection[asyncpg.Record]) -> None:
        for _ in range(20):
            await connection.execute(
                "insert into public.scheduled_jobs (job_type, status, started_at, completed_at)"
                " values ('crawl_pending', 'completed', now() - interval '1 second', now())"
            )

    ending = asyncio.gather(*(go_on_ending(connection) for connection in many[:8]))
    for _ in range(3):
        await stats.call("recount_job_stats")
    await ending
    found = await stats.connection.fetch(
        "select outcome, count(*), count(seconds), sum(items) from public.ended_jobs group by 1 order by 1"
    )
    told = await stats.connection.fetch(
        "select outcome, sum(jobs), sum(timed), sum(items) from public.job_stats_daily group by 1 order by 1"
    )
    assert [tuple(row) for row in told] == [tuple(row) for row in found]
    buckets = await stats.connection.fetchval(
        "select sum(u.jobs)::int from public.job_stats_daily s, unnest(s.durations) u (jobs)"
    )
    assert buckets == sum(row[2] for row in found)


async def test_moving_jobs_to_the_archive_and_back_changes_no_number(
    stats: Scheduler, maintenance: Maintenance
) -> None:
    old = (datetime.now(UTC) - timedelta(days=100)).isoformat()
    await add(stats, [{"job_type": "crawl_pending", "status": "failed", "completed_at": old}] * 3)
    kept = await sums(stats)
    await maintenance.walk("archive_jobs", limit=10)
    ids = await stats.connection.fetch("select id from public.scheduled_jobs_archive")
    assert len(ids) == 3
    assert await sums(stats) == kept
    await stats.call("restore_jobs", ids=[row["id"] for row in ids])
    assert await stats.connection.fetchval("select count(*) from public.scheduled_jobs_archive") == 0
    assert await sums(stats) == kept
    # What ends after that counts.
    await add(stats, [{"job_type": "crawl_pending", "status": "failed"}])
    assert await outcomes(stats) == {"failed": 4}
    await stats.call("recount_job_stats")
    assert await outcomes(stats) == {"failed": 4}


async def test_old_days_are_added_up_and_nothing_is_lost(stats: Scheduler, maintenance: Maintenance) -> None:
    now = datetime.now(UTC)
    for days, slot in ((800, 0), (790, 7), (10, 0), (10, 3), (10, 99), (0, 0), (0, 5)):
        await stats.connection.execute(
            "insert into public.job_stats_daily"
            " values ($1, 'crawl_pending', 'completed', $2, 2, 7, 2, 5, '[3:4]={1,1}', 1, 1, now())",
            (now - timedelta(days=days)).date(),
            slot,
        )
    totals = (await stats.call("job_totals"))["ended"]
    month = await stats.rows("job_stats_by_type", days=30)
    assert await maintenance.walk("fold_job_stats", limit=3, dry_run=True) == 4
    assert await maintenance.walk("fold_job_stats", limit=3) == 4
    assert (await stats.call("job_totals"))["ended"] == totals
    assert await stats.rows("job_stats_by_type", days=30) == month
    rows = await stats.connection.fetch(
        "select day, slot, jobs from public.job_stats_daily where jobs > 2 order by day"
    )
    assert [(row["slot"], row["jobs"]) for row in rows] == [(0, 4), (0, 6)]
    assert await stats.connection.fetchval("select count(*) from public.job_stats_daily") == 4


async def test_the_overview_tells_each_type_that_has_jobs(stats: Scheduler) -> None:
    for status in ("completed", "completed", "failed"):
        job, fence = await stats.running()
        await stats.finish(job, fence, status)
    newest = await stats.accept()
    told = await stats.call("job_types_overview", days=30)
    assert set(told) == {"crawl_pending"}
    crawl = told["crawl_pending"]
    assert (crawl["completed"], crawl["failed"], crawl["queued"], crawl["running"]) == (2, 1, 1, 0)
    assert crawl["last"]["id"] == str(newest)
    assert 0 < crawl["medianSeconds"] < 1
