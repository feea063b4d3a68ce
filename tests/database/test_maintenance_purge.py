"""Deleting what is old: nothing younger goes, and no number is lost, whatever happens at the same time."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.database.conftest import Scheduler
from tests.maintenance import (
    Connection,
    Maintenance,
    interact,
    lifetime_counts,
    make_discoveries,
    make_users,
    scatter,
    snapshot,
    written_counts,
)

EXPIRING = {
    "scheduler_audit": ("(at, actor, action, outcome) values ($1, 'a', 'b', 'c')", "2 years"),
    "scheduled_jobs_archive": ("(job_type, status, completed_at) values ('crawl_pending', 'failed', $1)", "2 years"),
    "idempotency_keys": (
        (
            "(actor, route, key, fingerprint, job_id, answer, created_at)"
            " values ('a', 'b', gen_random_uuid()::text, 'd', gen_random_uuid(), '{}', $1)"
        ),
        "24 hours",
    ),
    "job_events": ("(job_id, kind, data, at) values (gen_random_uuid(), 'status', '{}', $1)", "24 hours"),
}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("as_of", "created_at", "goes"),
    [
        ("2026-02-28 12:00", "2024-02-28 11:59:59", True),
        ("2026-02-28 12:00", "2024-02-28 12:00", False),  # two years to the instant are not more than two
        ("2026-02-28 23:59", "2024-02-29 00:00", False),  # no 29 February two years later: it goes on 1 March
        ("2026-03-01 00:00", "2024-02-29 23:59", True),
        ("2026-03-01 00:00", "2024-03-01 00:00", False),
        ("2024-02-29 12:00", "2022-02-28 11:59", True),  # two years before 29 February is the 28th
        ("2024-02-29 12:00", "2022-02-28 12:01", False),
        ("2024-02-29 23:59", "2022-03-01 00:00", False),
    ],
)
async def test_two_years_are_calendar_years(
    maintenance: Maintenance, site: Connection, as_of: str, created_at: str, *, goes: bool
) -> None:
    (discovery,) = await make_discoveries(site, 1)
    await interact(site, discovery, 1, at=utc(created_at))
    await site.execute("set timezone = 'Pacific/Auckland'")
    deleted = await maintenance.walk("purge_interactions", 10, as_of=utc(as_of))
    await site.execute("reset timezone")
    assert deleted == goes


async def test_a_time_in_the_future_deletes_nothing_younger_than_two_years(
    maintenance: Maintenance, site: Connection
) -> None:
    (discovery,) = await make_discoveries(site, 1)
    await interact(site, discovery, 5)
    assert await maintenance.walk("purge_interactions", 10, as_of=utc("2060-01-01 00:00")) == 0


async def test_counts_after_a_purge_are_exact(maintenance: Maintenance, site: Connection) -> None:
    (discovery,) = await make_discoveries(site, 1)
    users = await make_users(site, 30)
    await interact(site, discovery, 0, users=users[:20], at="3 years")
    await interact(site, discovery, 40, at="3 years")
    await interact(site, discovery, 0, users=users[20:])
    await interact(site, discovery, 30)
    assert await maintenance.recount() == 1
    assert await maintenance.walk("purge_interactions", 7) == 60
    await interact(site, discovery, 5)
    assert await maintenance.recount() == 1
    (counts,) = (await written_counts(site)).values()
    assert (counts["views"], counts["total_views"]) == (30, 105)


@pytest.mark.parametrize("limit", [1, 7, 100, 10_000])
async def test_rows_and_purged_are_the_same_after_every_batch(
    maintenance: Maintenance, site: Connection, limit: int
) -> None:
    await make_discoveries(site, 5)
    await make_users(site, 20)
    await scatter(site, 0.1)
    before = await site.fetch(TOTALS)
    answer: dict[str, Any] = {"more": True, "after": None}
    while answer["more"]:
        answer = await maintenance.call("purge_interactions", limit=limit, after=answer["after"])
        assert await site.fetch(TOTALS) == before
    assert not await site.fetchval(
        "select count(*) from public.user_interactions where created_at < now() - interval '2 years'"
    )


TOTALS = """
select discovery_id, type, sum(total), sum(with_user) from (
  select discovery_id, type, 1 as total, (user_id is not null)::integer as with_user from public.user_interactions
  union all select discovery_id, type, total, with_user from public.purged_interactions) one
group by 1, 2 order by 1, 2
"""


async def test_what_is_created_late_with_an_old_time_is_not_passed_over(
    maintenance: Maintenance, site: Connection
) -> None:
    (discovery,) = await make_discoveries(site, 1)
    await interact(site, discovery, 10, at="3 years")
    answer = await maintenance.call("purge_interactions", limit=5)
    await interact(site, discovery, 3, at="9 years")
    rows = answer["rows"]
    while answer["more"]:
        answer = await maintenance.call("purge_interactions", limit=5, after=answer["after"])
        rows += answer["rows"]
    assert rows == 13


async def test_two_purges_beside_each_other_lose_and_double_nothing(
    maintenance: Maintenance, another: Scheduler, site: Connection
) -> None:
    await make_discoveries(site, 10)
    await make_users(site, 60)
    await scatter(site, 0.2)
    before = await site.fetch(TOTALS)
    old = await site.fetchval(
        "select count(*) from public.user_interactions where created_at < now() - interval '2 years'"
    )
    other = await Maintenance.begin(another)
    deleted = await asyncio.gather(maintenance.walk("purge_interactions", 13), other.walk("purge_interactions", 17))
    assert sum(deleted) == old
    assert await site.fetch(TOTALS) == before


async def test_a_dry_run_says_the_same_number_and_changes_no_row(maintenance: Maintenance, site: Connection) -> None:
    await make_discoveries(site, 5)
    await make_users(site, 20)
    await scatter(site, 0.3)
    before = await snapshot(site)
    says = [await maintenance.walk("purge_interactions", limit, dry_run=True) for limit in (3, 50, 10_000)]
    assert await snapshot(site) == before
    assert {await maintenance.walk("purge_interactions", 50)} == set(says)


async def test_a_lost_answer_loses_no_count(maintenance: Maintenance, site: Connection) -> None:
    (discovery,) = await make_discoveries(site, 1)
    await interact(site, discovery, 25, at="3 years")
    await maintenance.call("purge_interactions", limit=10)
    answer = await maintenance.call("purge_interactions", limit=10)
    assert (answer["rows"], answer["done"]) == (10, 20)


async def test_nothing_is_done_under_an_old_fence(maintenance: Maintenance, scheduler: Scheduler) -> None:
    calls: dict[str, dict[str, Any]] = {
        "open_maintenance": {},
        "purge_interactions": {"limit": 1},
        "archive_jobs": {"limit": 1},
        "forget_expired": {"limit": 1, "what": "job_events"},
        "forget_email_ids": {"limit": 1},
        "open_metrics": {},
        "mark_changed": {"limit": 1},
        "count_interactions": {"limit": 1},
        "apply_metrics": {"limit": 1},
        "close_metrics": {},
        "open_scores": {},
        "score_discoveries": {"limit": 1},
        "move_scores": {"limit": 1},
        "swap_trending": {"as_of": utc("2026-01-01 00:00"), "top": {}},
    }
    for function, parameters in calls.items():
        with pytest.raises(asyncpg.PostgresError) as refused:
            await scheduler.call(function, job=maintenance.job, fence=2, **parameters)
        assert refused.value.sqlstate == "SJ001", function


class TestBesideACounting:
    @pytest.mark.parametrize("seed", range(8))
    async def test_a_purge_at_any_moment_changes_no_count(
        self, maintenance: Maintenance, another: Scheduler, site: Connection, seed: int
    ) -> None:
        # Batches smaller than what was created in one instant: the counting goes through that in slices.
        dice = random.Random(seed)
        await make_discoveries(site, 30)
        await make_users(site, 8)
        await scatter(site, seed / 10)
        expected = await lifetime_counts(site)
        cleanup = await Maintenance.begin(another)
        purge: dict[str, Any] = {"more": True, "after": None}

        async def purge_some() -> None:
            nonlocal purge
            for _ in range(dice.randrange(4)):
                if purge["more"] and dice.random() < 0.5:
                    purge = await cleanup.call("purge_interactions", limit=9, after=purge["after"])

        await purge_some()
        opened = await maintenance.call("open_metrics", full=dice.random() < 0.5)
        assert opened["full"], "the first counting is a full one"
        for function in ("count_interactions", "apply_metrics"):
            answer: dict[str, Any] = {"more": True, "after": None}
            while answer["more"]:
                await purge_some()
                answer = await maintenance.call(function, limit=11, after=answer["after"])
        await maintenance.call("close_metrics")
        assert await written_counts(site) == expected
        while purge["more"]:
            purge = await cleanup.call("purge_interactions", limit=9, after=purge["after"])
        assert await maintenance.recount() == 0
        assert await written_counts(site) == expected

    async def test_a_counting_that_begins_waits_for_a_purge_under_way(
        self, maintenance: Maintenance, another: Scheduler, site: Connection
    ) -> None:
        (discovery,) = await make_discoveries(site, 1)
        await interact(site, discovery, 10, at="3 years")
        cleanup = await Maintenance.begin(another)
        async with another.connection.transaction():
            await cleanup.call("purge_interactions", limit=5)
            opening = asyncio.create_task(maintenance.call("open_metrics", full=True))
            await asyncio.sleep(0.3)
            assert not opening.done()
        assert not (await opening)["wait"]


@pytest.mark.parametrize("table", EXPIRING)
async def test_rows_of_ours_go_when_their_time_is_over(maintenance: Maintenance, site: Connection, table: str) -> None:
    await site.execute(f"truncate public.{table}")
    columns, kept = EXPIRING[table]
    for age in (f"{kept} 1 minute", f"{kept} 40 days", f"{kept} -1 minute", "0"):
        at = await site.fetchval("select now() - $1::text::interval", age)
        await site.execute(f"insert into public.{table} {columns}", at)
    assert await maintenance.walk("forget_expired", 1, what=table, dry_run=True) == 2
    assert await maintenance.walk("forget_expired", 1, what=table) == 2
    assert await site.fetchval(f"select count(*) from public.{table}") == 2
    assert await maintenance.walk("forget_expired", 1, what=table) == 0


async def test_nothing_else_can_be_made_to_expire(maintenance: Maintenance) -> None:
    for table in ("users", "discoveries", "scheduled_jobs"):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await maintenance.call("forget_expired", limit=1, what=table)
        assert refused.value.sqlstate == "22023"


async def test_mails_are_forgotten_after_400_days_and_ids_of_deleted_users_at_once(
    maintenance: Maintenance, site: Connection
) -> None:
    living, deleted = await make_users(site, 2)
    await site.execute("update public.users set deleted_at = now() where id = $1", deleted)
    await site.execute("truncate public.email_deliveries")
    for user, age in ((living, "399 days"), (living, "401 days"), (deleted, "1 day"), (uuid4(), "1 day")):
        await site.execute(
            "insert into public.email_deliveries (dedupe_key, job_type, period, user_id, email_type, status, email_id,"
            " created_at) values (gen_random_uuid()::text, 'weekly_digest', '2026-W48', $1, 'weekly-trending', 'sent',"
            " gen_random_uuid(), now() - $2::text::interval)",
            user,
            age,
        )
    assert await maintenance.walk("forget_expired", 1, what="email_deliveries", dry_run=True) == 1
    assert await maintenance.walk("forget_expired", 1, what="email_deliveries") == 1
    assert await maintenance.walk("forget_email_ids", 2, dry_run=True) == 2
    assert await maintenance.walk("forget_email_ids", 2) == 2
    left = await site.fetch("select user_id, email_id is null as forgotten from public.email_deliveries order by id")
    assert [row["forgotten"] for row in left] == [False, True, True]
    assert left[0]["user_id"] == living
    assert await maintenance.walk("forget_email_ids", 2) == 0
