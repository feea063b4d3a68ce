"""Crawl claims: a row is in one hand at a time, the row tells what was done, and attempts are counted."""

from __future__ import annotations

import asyncio
import itertools
from uuid import UUID

import asyncpg
import pytest

from tests.database.conftest import Scheduler

_rounds = itertools.count(1)  # every call is a round of its own unless it is to be a repetition


async def discoveries(scheduler: Scheduler, count: int) -> list[UUID]:
    rows = await scheduler.connection.fetch(
        "insert into public.discoveries (url, title, created_at)"
        " select 'http://site.test/' || i, '', now() - make_interval(mins => i) from generate_series($1::int, 1, -1) i"
        " returning id",
        count,
    )
    return [row["id"] for row in rows]


async def claim(scheduler: Scheduler, job: tuple[UUID, int], limit: int, round_: int = 0) -> list[UUID]:
    rows = await scheduler.rows(
        "claim_crawl_batch", job=job[0], fence=job[1], limit=limit, round=round_ or next(_rounds)
    )
    return [row["id"] for row in rows]


async def settle(
    scheduler: Scheduler,
    job: tuple[UUID, int],
    ids: list[UUID],
    *,
    answered: bool = True,
    round_: int = 0,
) -> dict[UUID, str]:
    rows = await scheduler.rows(
        "settle_crawl_batch",
        job=job[0],
        fence=job[1],
        ids=ids,
        answered=answered,
        wait_seconds=120,
        max_attempts=3,
        round=round_ or next(_rounds),
    )
    return {row["id"]: row["outcome"] for row in rows}


async def set_status(scheduler: Scheduler, ids: list[UUID], status: str) -> None:
    await scheduler.connection.execute(
        "update public.discoveries set crawl_status = $2 where id = any($1)", ids, status
    )


async def test_the_oldest_are_claimed_first_and_once(scheduler: Scheduler) -> None:
    ids = await discoveries(scheduler, 5)
    job = await scheduler.running()
    assert await claim(scheduler, job, 3) == ids[:3]
    assert await claim(scheduler, job, 3) == ids[3:]
    assert await claim(scheduler, job, 3) == []


async def test_a_claim_asked_for_again_in_its_round_gives_the_same_rows(scheduler: Scheduler) -> None:
    ids = await discoveries(scheduler, 5)
    job = await scheduler.running()
    assert await claim(scheduler, job, 3, round_=7) == ids[:3]
    assert await claim(scheduler, job, 3, round_=7) == ids[:3]
    assert await claim(scheduler, job, 3, round_=8) == ids[3:]


async def test_two_runs_side_by_side_never_hold_the_same_row(scheduler: Scheduler, another: Scheduler) -> None:
    await discoveries(scheduler, 1100)
    one, two = await scheduler.running(key=None), await scheduler.running(key=None)

    async def claim_all(connection: Scheduler, job: tuple[UUID, int]) -> list[UUID]:
        held: list[UUID] = []
        while batch := await claim(connection, job, 17):
            held += batch
        return held

    first, second = await asyncio.gather(claim_all(scheduler, one), claim_all(another, two))
    assert len(first) + len(second) == len({*first, *second}) == 1100
    assert first
    assert second


async def test_a_claim_holds_while_the_lease_lives_and_no_longer(scheduler: Scheduler) -> None:
    ids = await discoveries(scheduler, 2)
    one, two = await scheduler.running(key=None), await scheduler.running(key=None)
    await claim(scheduler, one, 2)
    assert await claim(scheduler, two, 2) == []
    await scheduler.age_lease(one[0], 91)
    # An old lease may yet be renewed: after an outage its process goes on with what it has claimed.
    assert await claim(scheduler, two, 2) == []
    await scheduler.sweep_without_grace()
    assert await claim(scheduler, two, 2) == ids
    with pytest.raises(asyncpg.PostgresError) as refused:
        await settle(scheduler, one, ids)
    assert refused.value.sqlstate == "SJ001"


async def test_nothing_is_claimed_or_settled_under_an_old_fence(scheduler: Scheduler) -> None:
    ids = await discoveries(scheduler, 1)
    job, fence = await scheduler.running()
    for call in (claim(scheduler, (job, fence + 1), 1), settle(scheduler, (job, fence - 1), ids)):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await call
        assert refused.value.sqlstate == "SJ001"


async def test_rows_tell_what_was_done(scheduler: Scheduler) -> None:
    good, bad, open_, gone = await discoveries(scheduler, 4)
    job = await scheduler.running()
    await claim(scheduler, job, 4)
    await set_status(scheduler, [good], "completed")
    await set_status(scheduler, [bad], "failed")
    await scheduler.connection.execute("delete from public.discoveries where id = $1", gone)
    expected = {good: "completed", bad: "failed", open_: "retry", gone: "failed"}
    assert await settle(scheduler, job, [good, bad, open_, gone], round_=99) == expected
    # The answer was lost: asked again in the same round it says the same and counts nothing twice.
    assert await settle(scheduler, job, [good, bad, open_, gone], round_=99) == expected
    assert await scheduler.connection.fetchval("select attempts from public.crawl_claims") == 1


async def test_a_lost_answer_leaves_the_row_in_doubt_for_a_while_and_then_counts(scheduler: Scheduler) -> None:
    ids = await discoveries(scheduler, 1)
    job = await scheduler.running()
    await claim(scheduler, job, 1)
    assert await settle(scheduler, job, ids, answered=False) == {ids[0]: "in_doubt"}
    await scheduler.connection.execute("update public.crawl_claims set lost_at = now() - interval '121 seconds'")
    assert await settle(scheduler, job, ids, answered=False) == {ids[0]: "retry"}
    assert await scheduler.connection.fetchval("select attempts from public.crawl_claims") == 1


async def test_a_row_not_settled_in_three_attempts_is_marked_failed(scheduler: Scheduler) -> None:
    (one,) = await discoveries(scheduler, 1)
    job = await scheduler.running()
    await claim(scheduler, job, 1)
    await set_status(scheduler, [one], "crawling")
    seen = [(await settle(scheduler, job, [one]))[one] for _ in range(3)]
    assert seen == ["retry", "retry", "exhausted"]
    row = await scheduler.connection.fetchrow("select crawl_status, crawl_error from public.discoveries")
    assert row is not None
    assert tuple(row) == ("failed", "not settled by the crawler in 3 attempts")
    assert await scheduler.connection.fetchval("select count(*) from public.crawl_claims") == 0


async def test_attempts_are_remembered_across_jobs(scheduler: Scheduler) -> None:
    (one,) = await discoveries(scheduler, 1)
    for expected in ("retry", "retry", "exhausted"):
        job = await scheduler.running()
        await scheduler.call("open_crawl", job=job[0], fence=job[1], limit=10)
        await claim(scheduler, job, 1)
        assert await settle(scheduler, job, [one]) == {one: expected}
        await scheduler.finish(*job)


async def test_released_rows_count_no_attempt(scheduler: Scheduler) -> None:
    ids = await discoveries(scheduler, 2)
    job = await scheduler.running()
    await claim(scheduler, job, 2)
    assert await scheduler.call("release_crawl_batch", job=job[0], fence=job[1], ids=ids) == 2
    assert await claim(scheduler, job, 2) == ids
    assert await scheduler.connection.fetchval("select max(attempts) from public.crawl_claims") == 0


async def test_opening_puts_back_what_a_dead_run_left_crawling(scheduler: Scheduler) -> None:
    ids = await discoveries(scheduler, 3)
    dead = await scheduler.running(key=None)
    await claim(scheduler, dead, 3)
    await set_status(scheduler, ids[:2], "crawling")
    await scheduler.age_lease(dead[0], 91)
    await scheduler.sweep_without_grace()
    job = await scheduler.running()
    assert await scheduler.call("open_crawl", job=job[0], fence=job[1], limit=100) == 3
    assert await claim(scheduler, job, 100) == ids


async def test_rows_left_crawling_are_put_back_after_ten_minutes_and_not_before(scheduler: Scheduler) -> None:
    fresh, stale = await discoveries(scheduler, 2)
    await scheduler.connection.execute("alter table public.discoveries disable trigger user")
    try:
        for one, minutes in ((fresh, 9), (stale, 11)):
            await scheduler.connection.execute(
                "update public.discoveries set crawl_status = 'crawling', created_at = now() - interval '1 day',"
                " updated_at = now() - make_interval(mins => $2) where id = $1",
                one,
                minutes,
            )
    finally:
        await scheduler.connection.execute("alter table public.discoveries enable trigger user")
    job = await scheduler.running()
    block: int | None = 0
    while block is not None:
        block = await scheduler.call("rescue_crawling", job=job[0], fence=job[1], from_block=block, blocks=1)
    assert await claim(scheduler, job, 100) == [stale]


async def test_a_living_runs_rows_are_left_alone_by_opening(scheduler: Scheduler) -> None:
    ids = await discoveries(scheduler, 2)
    other = await scheduler.running(key=None)
    await claim(scheduler, other, 2)
    await set_status(scheduler, ids, "crawling")
    job = await scheduler.running()
    assert await scheduler.call("open_crawl", job=job[0], fence=job[1], limit=100) == 0
    assert await settle(scheduler, other, ids) == dict.fromkeys(ids, "retry")


async def test_deleted_discoveries_are_not_crawled(scheduler: Scheduler) -> None:
    await discoveries(scheduler, 1)
    await scheduler.connection.execute("update public.discoveries set deleted_at = now()")
    job = await scheduler.running()
    assert await claim(scheduler, job, 10) == []
