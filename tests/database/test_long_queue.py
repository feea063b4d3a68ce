"""A queue of thousands: what dispatch reads does not grow with it, and every job in it says why it waits."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from tests.database.conftest import Scheduler

LONG = 3_000
FILL = """
insert into public.scheduled_jobs
    (job_type, status, origin, priority, exclusive_key, parameters, attempt, created_at)
  select 'crawl_pending', 'pending', 'dashboard', (array['HIGH', 'MEDIUM', 'LOW'])[1 + i % 3], 'crawl_pending', '{}', 0,
      now() - ($1 - i) * interval '1 millisecond'
    from generate_series(1, $1) i
"""
DEEP = "waiting for 100 jobs or more in front of it"


async def reasons(scheduler: Scheduler) -> Counter[str | None]:
    rows = await scheduler.connection.fetch("select pending_reason from public.scheduled_jobs where status = 'pending'")
    return Counter(row[0] for row in rows)


async def dispatch(scheduler: Scheduler) -> list[UUID]:
    return [row["id"] for row in await scheduler.rows("claim_dispatch", limit=5)]


async def test_every_job_of_a_long_queue_says_why_it_waits(scheduler: Scheduler) -> None:
    await scheduler.connection.execute(FILL, LONG)
    (holder,) = await dispatch(scheduler)
    found = await reasons(scheduler)
    # The holder itself waits for nothing.
    assert found.pop(None) == 1
    # A hundred at the front, and the hundred that came first and named the one that was to get the slot.
    assert 100 <= found.pop(f"waiting for job {holder} to end") <= 202
    assert found.pop(DEEP) >= LONG - 300
    # Those that came before the slot was granted, and are far from the front, name one that has to end before them.
    rows = await scheduler.connection.fetch("select id from public.scheduled_jobs where status = 'pending'")
    assert set(found) <= {f"waiting for job {row['id']} to end" for row in rows}


async def test_a_job_that_comes_before_the_slot_is_granted_names_the_one_that_will_get_it(scheduler: Scheduler) -> None:
    first, second = await scheduler.accept(), await scheduler.accept()
    assert (await scheduler.row(first))["pending_reason"] is None
    assert (await scheduler.row(second))["pending_reason"] == f"waiting for job {first} to end"
    assert await dispatch(scheduler) == [first]
    assert (await scheduler.row(second))["pending_reason"] == f"waiting for job {first} to end"


async def test_a_job_that_comes_to_the_front_says_for_which_job_it_waits(scheduler: Scheduler) -> None:
    await scheduler.connection.execute(FILL, 250)
    (first,) = await dispatch(scheduler)
    late = await scheduler.accept("LOW")
    assert (await scheduler.row(late))["pending_reason"] == DEEP
    urgent = await scheduler.accept("HIGH")
    await scheduler.connection.execute(
        "update public.scheduled_jobs set status = 'cancelled' where status = 'pending' and id <> all ($1)",
        [late, urgent],
    )
    assert await dispatch(scheduler) == [urgent]
    assert (await scheduler.row(late))["pending_reason"] == f"waiting for job {urgent} to end"
    assert first != urgent


async def test_dispatch_reads_no_more_when_more_jobs_wait(scheduler: Scheduler) -> None:
    await scheduler.connection.execute(FILL, 300)
    await dispatch(scheduler)
    # As autovacuum does while a queue grows.
    await scheduler.connection.execute("vacuum analyze public.scheduled_jobs")
    few = await scheduler.rows_read("select count(*) from public.claim_dispatch(5)")
    await scheduler.connection.execute(FILL, LONG)
    await scheduler.connection.execute("vacuum analyze public.scheduled_jobs")
    assert 0 < await scheduler.rows_read("select count(*) from public.claim_dispatch(5)") <= few + 50


async def test_accepting_reads_no_more_when_more_jobs_wait(scheduler: Scheduler) -> None:
    await scheduler.connection.execute(FILL, LONG)
    await dispatch(scheduler)
    accept = """select public.accept_job('{"job_type": "crawl_pending", "origin": "dashboard",
        "exclusive_key": "crawl_pending"}', '{"actor": "x", "action": "trigger"}')"""
    # A hundred in front, to know that there are a hundred; each may be counted in the index and in the table.
    assert await scheduler.rows_read(accept) <= 250


async def test_a_pause_is_said_by_every_job_and_forgotten_by_every_job(scheduler: Scheduler) -> None:
    await scheduler.connection.execute(FILL, LONG)
    await scheduler.call("set_maintenance", paused=True, reason="upgrade", until=None, set_by="x", actor="x")
    for _ in range(LONG // 1000 + 1):
        assert await dispatch(scheduler) == []
    assert await reasons(scheduler) == {"paused: upgrade": LONG}
    during = await scheduler.accept()
    assert (await scheduler.row(during))["pending_reason"] == "paused: upgrade"
    await scheduler.call("set_maintenance", paused=False, reason=None, until=None, set_by="x", actor="x")
    handed_out = []
    for _ in range(LONG // 1000 + 2):
        handed_out += await dispatch(scheduler)
    assert len(handed_out) == 1
    assert not any(reason and reason.startswith("paused") for reason in await reasons(scheduler))


async def test_a_pause_between_two_looks_of_the_dispatcher_leaves_no_trace(scheduler: Scheduler) -> None:
    await scheduler.call("set_maintenance", paused=True, reason=None, until=None, set_by="x", actor="x")
    job = await scheduler.accept()
    await scheduler.call("set_maintenance", paused=False, reason=None, until=None, set_by="x", actor="x")
    assert await dispatch(scheduler) == [job]
    assert (await scheduler.row(job))["pending_reason"] is None
