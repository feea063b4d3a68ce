"""Reading job_events: never past an event that is still to be committed, and never waiting for anything else."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from tests.database.conftest import Scheduler


async def read(scheduler: Scheduler, after: int | None, limit: int = 100) -> dict[str, Any]:
    page: dict[str, Any] = await scheduler.call("read_job_events", after=after, limit=limit)
    return page


async def begin(scheduler: Scheduler) -> int:
    """Where a reader begins."""
    up_to: int = (await read(scheduler, None))["upTo"]
    return up_to


def ids(page: dict[str, Any]) -> list[int]:
    return [event["id"] for event in page["events"]]


async def test_events_come_in_order_and_say_where_to_go_on(scheduler: Scheduler) -> None:
    start = await begin(scheduler)
    first, second = await scheduler.accept(), await scheduler.accept()
    page = await read(scheduler, start, limit=1)
    assert [event["jobId"] for event in page["events"]] == [str(first)]
    assert page["upTo"] == ids(page)[0]
    rest = await read(scheduler, page["upTo"])
    assert [event["jobId"] for event in rest["events"]] == [str(second)]
    assert (await read(scheduler, rest["upTo"]))["events"] == []


async def test_nothing_is_told_before_an_event_of_a_transaction_that_is_still_open(
    scheduler: Scheduler, another: Scheduler
) -> None:
    start = await begin(scheduler)
    held = another.connection.transaction()
    await held.start()
    earlier = await another.accept()
    later = await scheduler.accept()
    page = await read(scheduler, start)
    assert (page["events"], page["upTo"]) == ([], start)
    assert await begin(scheduler) == start, "a new reader must not begin beyond it either"
    await held.commit()
    told = (await read(scheduler, start))["events"]
    assert [event["jobId"] for event in told] == [str(earlier), str(later)]


async def test_what_was_there_before_the_open_transaction_is_told(scheduler: Scheduler, another: Scheduler) -> None:
    start = await begin(scheduler)
    before = await scheduler.accept()
    held = another.connection.transaction()
    await held.start()
    await another.accept()
    await scheduler.accept()
    assert [event["jobId"] for event in (await read(scheduler, start))["events"]] == [str(before)]
    await held.rollback()
    assert len((await read(scheduler, start))["events"]) == 2


async def test_a_transaction_that_wrote_no_event_is_not_waited_for_however_old_it_is(
    scheduler: Scheduler, another: Scheduler
) -> None:
    held = another.connection.transaction()
    await held.start()
    # It has a transaction id, as one that works through a table for hours has.
    await another.connection.execute("select pg_current_xact_id()")
    start = await begin(scheduler)
    first = await scheduler.accept()
    page = await read(scheduler, start)
    assert [event["jobId"] for event in page["events"]] == [str(first)]
    # And then it does write one: beyond all that has been told, although its transaction id is the lowest.
    last = await another.accept()
    assert (await read(scheduler, page["upTo"]))["events"] == []
    await held.commit()
    assert [event["jobId"] for event in (await read(scheduler, page["upTo"]))["events"]] == [str(last)]


async def test_a_savepoint_that_is_rolled_back_takes_its_announcement_with_it(
    scheduler: Scheduler, another: Scheduler
) -> None:
    start = await begin(scheduler)
    held = another.connection.transaction()
    await held.start()
    savepoint = another.connection.transaction()
    await savepoint.start()
    await another.accept()
    await savepoint.rollback()
    other = await scheduler.accept()
    page = await read(scheduler, start)
    assert [event["jobId"] for event in page["events"]] == [str(other)]
    mine = await another.accept()
    assert (await read(scheduler, page["upTo"]))["events"] == []
    await held.commit()
    assert [event["jobId"] for event in (await read(scheduler, page["upTo"]))["events"]] == [str(mine)]


async def test_a_transaction_of_many_events_holds_one_lock(scheduler: Scheduler) -> None:
    for _ in range(5):
        await scheduler.accept()
    held = scheduler.connection.transaction()
    await held.start()
    await scheduler.connection.execute("update public.scheduled_jobs set pending_reason = 'all at once'")
    locks = await scheduler.connection.fetchval("select count(*) from pg_locks where locktype = 'advisory'")
    await held.rollback()
    assert locks == 1


async def test_a_reader_must_see_what_was_committed_since_it_began(scheduler: Scheduler) -> None:
    held = scheduler.connection.transaction(isolation="repeatable_read")
    await held.start()
    with pytest.raises(asyncpg.PostgresError, match="read committed only"):
        await read(scheduler, 0)
    await held.rollback()


async def test_an_id_is_known_while_all_that_follows_it_is_kept(scheduler: Scheduler) -> None:
    await scheduler.accept()
    start = await begin(scheduler)
    await scheduler.accept()
    assert (await read(scheduler, start))["known"] is True
    newest = (await read(scheduler, start))["newest"]
    assert (await read(scheduler, newest))["known"] is True, "nothing follows it"
    assert (await read(scheduler, newest + 1))["known"] is False, "it was never given out"
    await scheduler.connection.execute(
        "update public.job_events set at = at - interval '25 hours' where id <= $1", start
    )
    assert (await read(scheduler, start))["known"] is False, "what follows it may have been deleted"


async def test_old_events_and_keys_are_forgotten_a_batch_at_a_time(scheduler: Scheduler) -> None:
    for _ in range(5):
        await scheduler.accept()
    events = "select count(*) from public.job_events"
    await scheduler.connection.execute(
        "update public.job_events set at = at - interval '24 hours 1 second'"
        " where id in (select id from public.job_events order by id limit 3)"
    )
    await scheduler.connection.execute(
        "insert into public.idempotency_keys (actor, route, key, fingerprint, job_id, answer, created_at)"
        " select 'ada', 'a route', age::text, 'f', gen_random_uuid(), '{}', now() - make_interval(hours => age)"
        " from generate_series(22, 27) age"
    )
    assert await scheduler.call("forget_job_events", limit=2) == 2
    assert await scheduler.connection.fetchval(events) == 3
    assert await scheduler.call("forget_job_events", limit=2) == 2
    assert await scheduler.connection.fetchval(events) == 2
    assert await scheduler.call("forget_job_events", limit=2) == 0
    left = await scheduler.connection.fetch("select key from public.idempotency_keys order by key")
    assert [row["key"] for row in left] == ["22", "23"]


async def test_two_at_once_do_not_wait_for_each_other(scheduler: Scheduler, another: Scheduler) -> None:
    await scheduler.accept()
    await scheduler.connection.execute("update public.job_events set at = at - interval '2 days'")
    held = another.connection.transaction()
    await held.start()
    assert await another.call("forget_job_events", limit=10) == 1
    assert await scheduler.call("forget_job_events", limit=10) == 0
    await held.commit()
