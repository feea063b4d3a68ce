"""Crawling again: the walk that finds what is stale, claims that keep a row as it is, and the row that tells."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.database.conftest import Scheduler
from tests.database.test_crawl_claims import _rounds, claim, discoveries, set_status, settle

Job = tuple[UUID, int]


async def crawled(scheduler: Scheduler, count: int, days: int = 40) -> list[UUID]:
    """Discoveries that were crawled that many days ago and a little earlier each; the oldest crawl first."""
    ids = await discoveries(scheduler, count)
    await scheduler.connection.execute(
        "update public.discoveries d set crawl_status = 'completed', title = 'as it was',"
        " last_crawled_at = now() - make_interval(days => $2, mins => $3 - place::int)"
        " from unnest($1::uuid[]) with ordinality a (id, place) where d.id = a.id",
        ids,
        days,
        count + 1,
    )
    return ids


async def crawl(scheduler: Scheduler, ids: list[UUID], status: str = "completed") -> None:
    """What the crawler writes at the end."""
    await scheduler.connection.execute(
        "update public.discoveries set crawl_status = $2, last_crawled_at = now() where id = any($1)", ids, status
    )


async def find(scheduler: Scheduler, job: Job, **more: Any) -> dict[str, Any]:
    wanted: dict[str, Any] = {"older_than_days": 30, "limit": 1000, "blocks": 1000, **more}
    found: dict[str, Any] = await scheduler.call("find_stale", job=job[0], fence=job[1], **wanted)
    return found | {"ids": [UUID(one) for one in found["ids"]]}


async def outcomes(
    scheduler: Scheduler, job: Job, ids: list[UUID], *, days: int | None = None, round_: int = 0
) -> dict[UUID, str]:
    rows = await scheduler.rows(
        "claim_recrawl_batch",
        job=job[0],
        fence=job[1],
        ids=ids,
        round=round_ or next(_rounds),
        older_than_days=days,
    )
    return {row["id"]: row["outcome"] for row in rows}


async def statuses(scheduler: Scheduler) -> dict[str, int]:
    rows = await scheduler.connection.fetch("select crawl_status, count(*) from public.discoveries group by 1")
    return dict(map(tuple, rows))


async def as_if_long_ago(scheduler: Scheduler, change: str) -> None:
    """Changes discoveries without their trigger, which would set updated_at to now."""
    await scheduler.connection.execute("alter table public.discoveries disable trigger user")
    try:
        await scheduler.connection.execute(f"update public.discoveries set {change}")
    finally:
        await scheduler.connection.execute("alter table public.discoveries enable trigger user")


async def die(scheduler: Scheduler, job: Job) -> None:
    await scheduler.age_lease(job[0], 91)
    await scheduler.sweep_without_grace()


async def test_what_was_crawled_long_ago_is_stale_the_oldest_first(scheduler: Scheduler) -> None:
    ids = await crawled(scheduler, 8)
    for one, change in (
        (ids[0], "deleted_at = now()"),
        (ids[1], "crawl_status = 'failed'"),  # what the crawler calls failed is final
        (ids[2], "crawl_status = 'pending'"),
        (ids[3], "last_crawled_at = now() - interval '29 days'"),
        (ids[4], "last_crawled_at = null, created_at = now() - interval '31 days'"),  # no older than the row itself
        (ids[5], "last_crawled_at = null"),
    ):
        await scheduler.connection.execute(f"update public.discoveries set {change} where id = $1", one)
    job = await scheduler.running()
    assert (await find(scheduler, job))["ids"] == [ids[6], ids[7], ids[4]]
    assert (await find(scheduler, job, limit=2))["ids"] == [ids[6], ids[7]]


async def test_what_is_in_living_hands_is_not_found(scheduler: Scheduler) -> None:
    ids = await crawled(scheduler, 3)
    one, two = await scheduler.running(key=None), await scheduler.running(key=None)
    await outcomes(scheduler, one, ids[:2])
    assert (await find(scheduler, two))["ids"] == ids[2:]
    await die(scheduler, one)
    assert (await find(scheduler, two))["ids"] == ids


async def wide(scheduler: Scheduler, count: int) -> list[UUID]:
    """So many stale discoveries that fill more than ten blocks."""
    ids = await crawled(scheduler, count)
    await scheduler.connection.execute("update public.discoveries set description = repeat('wide ', 100)")
    await scheduler.connection.execute("vacuum full public.discoveries")
    return ids


async def walk(scheduler: Scheduler, job: Job, blocks: int) -> tuple[list[UUID], list[int]]:
    """A whole walk: what it has found, and the block of each stretch."""
    found: list[UUID] = []
    stretches: list[int] = []
    answer: dict[str, Any] = {"next": None, "walked": 0, "over": False}
    while not answer["over"]:
        answer = await find(scheduler, job, blocks=blocks, from_block=answer["next"], walked=answer["walked"])
        found += answer["ids"]
        stretches.append(await scheduler.connection.fetchval("select next_block from public.stale_walk"))
    return found, stretches


async def test_a_walk_reads_the_whole_table_once_a_stretch_at_a_time(scheduler: Scheduler) -> None:
    ids = await wide(scheduler, 300)
    job = await scheduler.running()
    total = await scheduler.connection.fetchval("select pg_relation_size('public.discoveries') / 8192")
    assert total > 10
    found, stretches = await walk(scheduler, job, blocks=4)
    assert sorted(found) == sorted(ids)
    assert len(found) == 300
    assert stretches == list(range(0, total, 4))


async def test_a_walk_goes_on_where_the_last_one_was_and_comes_round(scheduler: Scheduler) -> None:
    ids = await wide(scheduler, 300)
    first = await scheduler.running(key=None)
    answer = await find(scheduler, first, blocks=3)
    answer = await find(scheduler, first, blocks=3, from_block=answer["next"], walked=answer["walked"])
    await scheduler.finish(*first)
    second = await scheduler.running(key=None)
    found, stretches = await walk(scheduler, second, blocks=4)
    assert stretches[0] == 3, "the stretch the last run was at, which it may not have done"
    assert len(found) == 300
    assert sorted(found) == sorted(ids), "none is missed, none is found twice"


@pytest.mark.parametrize("left_at", [10**6, 11])  # behind the end of a table that has shrunk; at its end
async def test_a_walk_finds_its_way_from_any_block(scheduler: Scheduler, left_at: int) -> None:
    ids = await wide(scheduler, 200)
    await scheduler.connection.execute("insert into public.stale_walk (next_block) values ($1)", left_at)
    found, _ = await walk(scheduler, await scheduler.running(), blocks=5)
    assert sorted(found) == sorted(ids)


async def test_a_walk_over_an_empty_table_is_over_at_once(scheduler: Scheduler) -> None:
    await scheduler.connection.execute("truncate public.discoveries cascade")
    answer = await find(scheduler, await scheduler.running())
    assert (answer["ids"], answer["over"]) == ([], True)


async def test_a_row_keeps_its_status_while_it_is_crawled_again(scheduler: Scheduler) -> None:
    ids = await crawled(scheduler, 3)
    await set_status(scheduler, ids[1:2], "failed")
    await set_status(scheduler, ids[2:], "pending")
    job = await scheduler.running()
    assert await outcomes(scheduler, job, ids) == dict.fromkeys(ids, "claimed")
    assert await statuses(scheduler) == {"completed": 1, "failed": 1, "pending": 1}
    assert await settle(scheduler, job, ids) == dict.fromkeys(ids, "retry")
    assert await statuses(scheduler) == {"completed": 1, "failed": 1, "pending": 1}


async def test_a_refresh_claims_whatever_there_is_and_says_what_there_is_not(scheduler: Scheduler) -> None:
    here, deleted, held = await discoveries(scheduler, 3)
    unknown = uuid4()
    await scheduler.connection.execute("update public.discoveries set deleted_at = now() where id = $1", deleted)
    other, job = await scheduler.running(key=None), await scheduler.running(key=None)
    await outcomes(scheduler, other, [held])
    assert await outcomes(scheduler, job, [unknown, held, deleted, here]) == {
        unknown: "gone",
        held: "held",
        deleted: "gone",
        here: "claimed",
    }
    await scheduler.finish(*other)
    assert await outcomes(scheduler, job, [held]) == {held: "claimed"}


async def test_what_has_just_been_crawled_is_not_claimed_as_stale(scheduler: Scheduler) -> None:
    ids = await crawled(scheduler, 2)
    job = await scheduler.running()
    await crawl(scheduler, ids[:1])
    assert await outcomes(scheduler, job, ids, days=30) == {ids[0]: "held", ids[1]: "claimed"}


async def test_a_claim_asked_for_again_in_its_round_gives_the_same_rows(scheduler: Scheduler) -> None:
    ids = await crawled(scheduler, 3)
    job = await scheduler.running()
    assert await outcomes(scheduler, job, ids[:2], round_=7) == dict.fromkeys(ids[:2], "claimed")
    before = await scheduler.connection.fetch("select * from public.crawl_claims")
    assert await outcomes(scheduler, job, ids[:2], round_=7) == dict.fromkeys(ids[:2], "claimed")
    assert await scheduler.connection.fetch("select * from public.crawl_claims") == before


async def test_the_row_tells_that_it_was_crawled_again(scheduler: Scheduler) -> None:
    good, bad, open_, gone = ids = await crawled(scheduler, 4)
    job = await scheduler.running()
    await outcomes(scheduler, job, ids)
    await crawl(scheduler, [good])
    await crawl(scheduler, [bad], "failed")
    await scheduler.connection.execute("delete from public.discoveries where id = $1", gone)
    expected = {good: "completed", bad: "failed", open_: "retry", gone: "failed"}
    assert await settle(scheduler, job, ids, round_=99) == expected
    # The answer was lost: asked again in the same round it says the same and counts nothing twice.
    assert await settle(scheduler, job, ids, round_=99) == expected
    assert await scheduler.connection.fetchval("select attempts from public.crawl_claims") == 1


@pytest.mark.parametrize("before", ["completed", "failed", "pending"])
async def test_a_row_not_settled_in_three_attempts_stays_what_it_was(scheduler: Scheduler, before: str) -> None:
    (one,) = await crawled(scheduler, 1)
    await set_status(scheduler, [one], before)
    job = await scheduler.running()
    await outcomes(scheduler, job, [one])
    seen = []
    for round_ in (101, 102, 103, 103):
        # The crawler marks a row it begins with, and dies.
        await set_status(scheduler, [one], "crawling")
        seen.append((await settle(scheduler, job, [one], round_=round_))[one])
        if round_ != 103:
            assert await statuses(scheduler) == {before: 1}
    assert seen == ["retry", "retry", "exhausted", "exhausted"]
    await scheduler.call("open_crawl", job=job[0], fence=job[1], limit=0)
    assert await statuses(scheduler) == {before: 1}
    assert await scheduler.connection.fetchval("select crawl_error from public.discoveries") is None


async def test_what_was_given_up_is_not_stale_for_a_day_and_can_be_refreshed_at_once(scheduler: Scheduler) -> None:
    (one,) = await crawled(scheduler, 1)
    job = await scheduler.running(key=None)
    await outcomes(scheduler, job, [one], days=30)
    for _ in range(3):
        await settle(scheduler, job, [one])
    assert (await find(scheduler, job))["ids"] == []
    other = await scheduler.running(key=None)
    assert await outcomes(scheduler, other, [one]) == {one: "claimed"}
    await scheduler.call("release_crawl_batch", job=other[0], fence=other[1], ids=[one])
    assert (await find(scheduler, job))["ids"] == [one]


async def test_what_was_given_up_is_stale_again_after_a_day(scheduler: Scheduler) -> None:
    (one,) = await crawled(scheduler, 1)
    job = await scheduler.running()
    await outcomes(scheduler, job, [one], days=30)
    for _ in range(3):
        await settle(scheduler, job, [one])
    await scheduler.connection.execute(
        "update public.crawl_claims set given_up_at = now() - interval '25 hours',"
        " claimed_at = now() - interval '25 hours'"
    )
    assert (await find(scheduler, job))["ids"] == [one]
    await scheduler.call("open_crawl", job=job[0], fence=job[1], limit=0)
    assert await scheduler.connection.fetchval("select count(*) from public.crawl_claims") == 0


async def test_a_lost_answer_leaves_a_row_in_doubt_until_it_tells(scheduler: Scheduler) -> None:
    (one,) = await crawled(scheduler, 1)
    job = await scheduler.running()
    await outcomes(scheduler, job, [one])
    assert await settle(scheduler, job, [one], answered=False) == {one: "in_doubt"}
    await crawl(scheduler, [one])
    assert await settle(scheduler, job, [one], answered=False) == {one: "completed"}


async def test_a_crawlers_clock_that_is_behind_does_not_matter(scheduler: Scheduler) -> None:
    (one,) = await crawled(scheduler, 1)
    job = await scheduler.running()
    await outcomes(scheduler, job, [one])
    await scheduler.connection.execute("update public.discoveries set last_crawled_at = now() - interval '1 hour'")
    assert await settle(scheduler, job, [one]) == {one: "completed"}


async def test_attempts_of_a_recrawl_are_not_those_of_a_first_crawl(scheduler: Scheduler) -> None:
    (one,) = await discoveries(scheduler, 1)
    job = await scheduler.running()
    await outcomes(scheduler, job, [one])
    for _ in range(2):
        assert await settle(scheduler, job, [one]) == {one: "retry"}
    await scheduler.call("release_crawl_batch", job=job[0], fence=job[1], ids=[one])
    assert await claim(scheduler, job, 10) == [one]
    assert [(await settle(scheduler, job, [one]))[one] for _ in range(3)] == ["retry", "retry", "exhausted"]
    assert await statuses(scheduler) == {"failed": 1}


async def test_a_dead_run_leaves_no_row_lost_and_none_pending(scheduler: Scheduler) -> None:
    ids = await crawled(scheduler, 4)
    dead = await scheduler.running(key=None)
    await outcomes(scheduler, dead, ids)
    await set_status(scheduler, ids[:2], "crawling")
    await die(scheduler, dead)
    job = await scheduler.running(key=None)
    assert await scheduler.call("open_crawl", job=job[0], fence=job[1], limit=100) == 0
    assert await statuses(scheduler) == {"completed": 4}
    assert (await find(scheduler, job))["ids"] == ids
    assert await outcomes(scheduler, job, ids, days=30) == dict.fromkeys(ids, "claimed")
    with pytest.raises(asyncpg.PostgresError) as refused:
        await settle(scheduler, dead, ids)
    assert refused.value.sqlstate == "SJ001"


async def test_what_a_dead_runs_crawler_marks_later_is_put_back_to_what_it_was(scheduler: Scheduler) -> None:
    (one,) = await crawled(scheduler, 1)
    dead = await scheduler.running(key=None)
    await outcomes(scheduler, dead, [one])
    await die(scheduler, dead)
    job = await scheduler.running()
    await scheduler.call("open_crawl", job=job[0], fence=job[1], limit=0)
    await as_if_long_ago(
        scheduler,
        "crawl_status = 'crawling', updated_at = now() - interval '11 minutes', created_at = now() - interval '1 day'",
    )
    assert await scheduler.call("rescue_crawling", job=job[0], fence=job[1], from_block=0, blocks=10) is None
    assert await statuses(scheduler) == {"completed": 1}


async def test_modes_beside_each_other_never_hold_the_same_row(scheduler: Scheduler, another: Scheduler) -> None:
    """A first crawl takes what is pending while a refresh takes the same rows by their ids."""
    ids = await discoveries(scheduler, 1100)
    one, two = await scheduler.running(key=None), await scheduler.running(key=None)

    async def claim_pending() -> list[UUID]:
        held: list[UUID] = []
        while batch := await claim(scheduler, one, 17):
            held += batch
        return held

    async def refresh() -> list[UUID]:
        held: list[UUID] = []
        # From the newest, so that the two meet in the middle, and then through what the other one has.
        for start in range(1100, 0, -10):
            answer = await outcomes(another, two, ids[max(start - 10, 0) : start])
            held += [one for one, outcome in answer.items() if outcome == "claimed"]
        return held

    first, second = await asyncio.gather(claim_pending(), refresh())
    assert first
    assert second
    assert not set(first) & set(second)
    assert set(first) | set(second) == set(ids)
    assert len(first) + len(second) == 1100


async def test_nothing_is_found_or_claimed_under_an_old_fence(scheduler: Scheduler) -> None:
    ids = await crawled(scheduler, 1)
    job, fence = await scheduler.running()
    for call in (find(scheduler, (job, fence + 1)), outcomes(scheduler, (job, fence - 1), ids)):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await call
        assert refused.value.sqlstate == "SJ001"
    assert await scheduler.connection.fetchval("select count(*) from public.crawl_claims") == 0
    assert await scheduler.connection.fetchval("select count(*) from public.stale_walk") == 0
