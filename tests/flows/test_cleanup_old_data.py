"""A cleanup as it really runs, through PostgREST: killed at any moment and run again, it ends as one clean run does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import ValidationError

from flows.cleanup_old_data import EXPIRING, Parameters, clean
from flows.core.maintenance import Pace, Walk
from tests.maintenance import (
    Connection,
    interact,
    lifetime_counts,
    make_discoveries,
    make_users,
    scatter,
    snapshot,
    written_counts,
)

TakeLease = Callable[[], Awaitable[None]]
# Of a job that was killed there is more than of one that was not.
JOBS = ("scheduled_jobs", "job_stats_daily", "metrics_state")


@pytest.fixture
async def old_data(sql: Connection) -> None:
    """More than 1,000 rows of everything that a cleanup looks at."""
    await make_discoveries(sql, 40)
    await make_users(sql, 30)
    await scatter(sql, 0.5)
    await sql.execute(
        "insert into scheduled_jobs (job_type, status, completed_at)"
        " select 'crawl_pending', 'failed', now() + interval '1 minute' - i * interval '3 hours'"
        " from generate_series(1, 1500) i"
    )
    await sql.execute(
        "insert into scheduled_jobs_archive (job_type, status, completed_at)"
        " select 'crawl_pending', 'failed', now() + interval '1 minute' - i * interval '1 day'"
        " from generate_series(1, 1900) i"
    )
    await sql.execute(
        "insert into scheduler_audit (actor, action, outcome, at)"
        " select 'a', 'b', 'c', now() + interval '1 minute' - i * interval '1 day'"
        " from generate_series(1, 1900) i"
    )
    await sql.execute("delete from job_events")
    await sql.execute(
        "insert into job_events (job_id, kind, data, at)"
        " select gen_random_uuid(), 'status', '{}', now() + interval '30 seconds' - i * interval '1 minute'"
        " from generate_series(1, 2600) i"
    )


async def end_state(sql: Connection) -> dict[str, Any]:
    """All rows of everybody's, without what tells one run from another and the moment it ran."""
    state = await snapshot(sql, without=JOBS)
    left = "select to_jsonb(j)::text from scheduled_jobs j where job_type = 'crawl_pending' order by 1"
    state["scheduled_jobs"] = [row[0] for row in await sql.fetch(left)]
    counted = "select day, sum(jobs) from job_stats_daily where job_type = 'crawl_pending' group by day order by day"
    state["job_stats_daily"] = [tuple(row) for row in await sql.fetch(counted)]
    columns = "discovery_id, views_count, total_views_count, likes_count, saves_count, shares_count, skip_count"
    rows = await sql.fetch(f"select {columns} from content_metrics order by discovery_id")
    state["content_metrics"] = [tuple(row) for row in rows]
    rows = await sql.fetch("select discovery_id, time_window, like_count from trending_content order by 2, 1")
    state["trending_content"] = [tuple(row) for row in rows]
    rows = await sql.fetch("select id, view_count, like_count, trending_score > 0 from discoveries order by id")
    state["discoveries"] = [tuple(row) for row in rows]
    return state


@pytest.mark.usefixtures("old_data")
class TestRun:
    async def test_everything_old_goes_and_every_number_stays(self, take_lease: TakeLease, sql: Connection) -> None:
        expected = await lifetime_counts(sql)
        old = await sql.fetchval("select count(*) from user_interactions where created_at < now() - interval '2 years'")
        two_years = await sql.fetchval("select count(*) from scheduler_audit where at < now() - interval '2 years'")
        await take_lease()
        result = await clean(Parameters(max_batch=100))
        assert result.error is None
        details = result.details
        assert (details["interactionsDeleted"], details["jobsArchived"]) == (old, 1500 - 90 * 8)
        # Of what had just been archived nothing was two years old.
        assert details["expired"] == {
            "email_deliveries": 0,
            "scheduler_audit": two_years,
            "scheduled_jobs_archive": two_years,
            "idempotency_keys": 0,
            "job_events": 2600 - 24 * 60,
        }
        assert details["metricsUpdated"] == len(expected) == 40
        assert result.items_processed > 1000
        assert await written_counts(sql) == expected
        assert await sql.fetchval("select count(*) from scheduled_jobs where job_type = 'crawl_pending'") == 720
        assert await sql.fetchval("select count(*) from scheduled_jobs_archive") == 1900 - two_years + 780

    async def test_a_second_run_changes_nothing(self, take_lease: TakeLease, sql: Connection) -> None:
        await take_lease()
        await clean(Parameters())
        await sql.execute("delete from job_events")
        before = await snapshot(sql, without=JOBS)
        await take_lease()
        result = await clean(Parameters())
        assert result.items_processed == 0
        assert await snapshot(sql, without=JOBS) == before

    async def test_a_dry_run_changes_no_row_and_says_what_a_real_one_would(
        self, take_lease: TakeLease, sql: Connection
    ) -> None:
        await take_lease()
        before = await snapshot(sql)
        said = await clean(Parameters(dry_run=True, max_batch=100))
        assert await snapshot(sql) == before
        done = await clean(Parameters())
        assert said.details == {**done.details, "dryRun": True}
        assert said.items_processed == done.items_processed

    @pytest.mark.parametrize("seed", range(3))
    async def test_killed_at_random_moments_it_ends_as_one_clean_run(
        self, take_lease: TakeLease, sql: Connection, seed: int
    ) -> None:
        dice = random.Random(seed)
        parameters = Parameters(max_batch=40)
        await sql.execute("create table public.spare as table public.user_interactions")
        for table in ("discoveries", "scheduled_jobs", "scheduled_jobs_archive", "scheduler_audit", "job_events"):
            await sql.execute(f"create table public.spare_{table} as table public.{table}")
        try:
            await take_lease()
            began = asyncio.get_running_loop().time()
            await clean(parameters)
            whole = asyncio.get_running_loop().time() - began
            clean_end = await end_state(sql)
            await _put_back(sql)
            kills = 0
            while True:
                await take_lease()
                try:
                    await asyncio.wait_for(clean(parameters), dice.uniform(0, whole * (0.4 + kills / 10)))
                except TimeoutError:
                    kills += 1
                    continue
                if kills >= 2:
                    break
                # It was measured on a busier machine, and is over before it is killed: once more, and sooner.
                kills, whole = 0, whole / 2
                await _put_back(sql)
            assert await end_state(sql) == clean_end
        finally:
            for row in await sql.fetch("select tablename from pg_tables where tablename like 'spare%'"):
                await sql.execute(f"drop table public.{row[0]}")


async def _put_back(sql: Connection) -> None:
    """Everything as it was before the clean run."""
    await sql.execute(
        "truncate discoveries, scheduled_jobs, scheduled_jobs_archive, scheduler_audit, job_events, content_metrics,"
        " trending_content, purged_interactions, metrics_state, job_stats_daily cascade"
    )
    for table in ("discoveries", "scheduled_jobs", "scheduled_jobs_archive", "scheduler_audit", "job_events"):
        overriding = "overriding system value" if table in ("scheduler_audit", "job_events") else ""
        await sql.execute(f"insert into {table} {overriding} select * from spare_{table}")
    await sql.execute("insert into user_interactions select * from spare")


async def test_it_has_nothing_to_do_in_an_empty_database(take_lease: TakeLease) -> None:
    await take_lease()
    result = await clean(Parameters())
    assert (result.items_processed, result.error) == (0, None)
    assert set(result.details["expired"]) == set(EXPIRING)


async def test_a_batch_that_takes_too_long_is_tried_again_with_half_the_rows(
    take_lease: TakeLease, sql: Connection
) -> None:
    (discovery,) = await make_discoveries(sql, 1)
    await interact(sql, discovery, 30, at="3 years")
    await take_lease()
    walk = Walk("purge_interactions", Pace(1000, 10, 1000))
    async with sql.transaction():
        await sql.execute("select pg_advisory_xact_lock(hashtext('public.metrics_pass'))")
        batch = asyncio.create_task(walk.batch())
        await asyncio.sleep(1.3)
    await batch
    assert (walk.rows, walk.pace.size) == (30, 1000)  # halved by the lock's time-out, doubled by a quick batch


class TestPace:
    @pytest.mark.parametrize(
        ("seconds", "size"),
        [
            (0.6, 500),  # too long
            (0.5, 1000),  # long enough
            (0.25, 1000),
            (0.1, 2000),  # quick
        ],
    )
    def test_a_batch_follows_the_time_the_last_one_took(self, seconds: float, size: int) -> None:
        pace = Pace(1000, 10, 100_000)
        pace.note(seconds)
        assert pace.size == size

    def test_it_stays_within_its_bounds(self) -> None:
        pace = Pace(1000, 300, 1500)
        for seconds in (0.1, 0.1):
            pace.note(seconds)
        assert pace.size == 1500
        for seconds in (5, 5, 5):
            pace.note(seconds)
        assert pace.size == 300

    def test_it_can_be_told_to_take_less(self) -> None:
        pace = Pace(1000, 300, 1500)
        pace.cap(100)
        pace.note(0.1)
        assert (pace.size, pace.smallest) == (100, 100)

    def test_the_pause_follows_the_batch(self) -> None:
        assert Pace.pause(0.4) == pytest.approx(0.02)
        assert Pace.pause(0) > 0


@pytest.mark.parametrize("given", [{"max_batch": 9}, {"max_batch": 10_000_000}, {"dry_run": "maybe"}, {"days": 3}])
def test_parameters_are_bounded_and_known(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(given)
