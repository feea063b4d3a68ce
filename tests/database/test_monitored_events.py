"""What monitoring counts, in the transaction in which it happens: lost leases, scheduled starts, mails."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from sandbox.stack import Stack
from tests.database.conftest import Scheduler

COUNTED = """select what, job_type, outcome, sum(events)::int, sum(seconds)::float8 from public.monitored_events
    group by what, job_type, outcome order by what, job_type, outcome"""


@pytest.fixture
async def counting(scheduler: Scheduler) -> Scheduler:
    await scheduler.connection.execute("truncate public.monitored_events, public.email_deliveries")
    return scheduler


async def counted(scheduler: Scheduler) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await scheduler.connection.fetch(COUNTED)]


class TestLeases:
    async def test_a_dead_lease_counts_once(self, counting: Scheduler) -> None:
        job, _ = await counting.running()
        await counting.age_lease(job, 100)
        for _ in range(2):
            await counting.sweep_without_grace()
        assert await counted(counting) == [("lease_lost", "crawl_pending", "", 1, 0)]

    async def test_a_job_that_never_started_is_none(self, counting: Scheduler) -> None:
        run = await counting.adopt()
        await counting.sweeps_ran_just_now()
        assert await counting.call("give_up_unstarted", id=run, flow_run_id=run, error="never started")
        assert await counted(counting) == [("never_started", "crawl_pending", "", 1, 0)]

    # None of them has lost its process against its will.
    @pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
    async def test_a_job_that_ends_itself_is_none(self, counting: Scheduler, status: str) -> None:
        job, fence = await counting.running()
        assert await counting.finish(job, fence, status)
        assert await counted(counting) == []


class TestStarts:
    async def started(self, scheduler: Scheduler, seconds: float, origin: str) -> UUID:
        run = await scheduler.adopt(origin)
        await scheduler.connection.execute(
            "update public.scheduled_jobs set created_at = now() - make_interval(secs => $2) where id = $1",
            run,
            seconds,
        )
        assert (await scheduler.take(run))["decision"] == "go"
        return run

    async def test_a_scheduled_start_counts_with_its_lateness(self, counting: Scheduler) -> None:
        await self.started(counting, 40, "schedule")
        ((*what, events, seconds),) = await counted(counting)
        assert (what, events) == (["scheduled_start", "crawl_pending", ""], 1)
        assert seconds == pytest.approx(40, abs=5)

    async def test_a_later_attempt_of_the_same_run_is_no_start(self, counting: Scheduler) -> None:
        run = await self.started(counting, 1, "schedule")
        await counting.age_lease(run, 100)
        assert (await counting.take(run, attempt=2))["decision"] == "go"
        assert [row[3] for row in await counted(counting)] == [1]

    async def test_a_start_that_somebody_asked_for_has_no_lateness(self, counting: Scheduler) -> None:
        await self.started(counting, 40, "prefect")
        assert await counted(counting) == []


class TestMails:
    async def planned(self, scheduler: Scheduler, count: int, status: str = "planned") -> None:
        await scheduler.connection.execute(
            """insert into public.email_deliveries (dedupe_key, job_type, period, user_id, email_type, status)
               select format('weekly_digest:w:%s', gen_random_uuid()), 'weekly_digest', 'w', gen_random_uuid(),
                   'weekly-trending', $2 from generate_series(1, $1::integer)""",
            count,
            status,
        )

    async def became(self, scheduler: Scheduler, status: str, **more: str) -> None:
        changes = "".join(f", {name} = {value}" for name, value in more.items())
        await scheduler.connection.execute(f"update public.email_deliveries set status = $1{changes}", status)

    async def test_a_mail_counts_when_it_is_known_what_became_of_it(self, counting: Scheduler) -> None:
        await self.planned(counting, 3)
        await self.became(counting, "sending")
        assert await counted(counting) == []
        await self.became(counting, "sent", email_id="gen_random_uuid()")
        assert await counted(counting) == [("mail", "weekly_digest", "sent", 3, 0)]
        await self.became(counting, "sent", delivered_at="now()")
        await self.became(counting, "sent", email_id="null")
        assert await counted(counting) == [
            ("mail", "weekly_digest", "delivered", 3, 0),
            ("mail", "weekly_digest", "sent", 3, 0),
        ]

    async def test_one_that_was_queued_and_given_up_is_undelivered(self, counting: Scheduler) -> None:
        await self.planned(counting, 1, "sent")
        await self.became(counting, "failed")
        assert [row[2:4] for row in await counted(counting)] == [("sent", 1), ("undelivered", 1)]

    @pytest.mark.parametrize("outcome", ["failed", "skipped", "unknown"])
    async def test_one_that_was_not_queued_counts_as_what_it_became(self, counting: Scheduler, outcome: str) -> None:
        await self.planned(counting, 2)
        await self.became(counting, "sending")
        await self.became(counting, outcome)
        assert await counted(counting) == [("mail", "weekly_digest", outcome, 2, 0)]

    async def test_one_that_is_planned_as_skipped_counts_at_once(self, counting: Scheduler) -> None:
        await self.planned(counting, 2, "skipped")
        assert await counted(counting) == [("mail", "weekly_digest", "skipped", 2, 0)]


class TestAtOnce:
    async def test_nobody_waits_for_a_count_and_none_is_lost(self, counting: Scheduler, database: Stack) -> None:
        """Forty transactions count the same thing before the first of them ends: more than there are slots."""
        connections = [await asyncpg.connect(database.wiring.database_url) for _ in range(40)]
        try:
            transactions = [connection.transaction() for connection in connections]
            for connection, transaction in zip(connections, transactions, strict=True):
                await transaction.start()
                await connection.execute("set local statement_timeout = '5s'")
                await connection.execute("select public.count_event('mail', 'weekly_digest', 'sent', 2)")
            await asyncio.gather(*(transaction.commit() for transaction in transactions))
        finally:
            await asyncio.gather(*(connection.close() for connection in connections))
        assert await counted(counting) == [("mail", "weekly_digest", "sent", 80, 0)]
        assert await self.singles(counting) == 8
        await counting.call("count_event", what="mail", job_type="weekly_digest", outcome="sent", events=1)
        assert await counted(counting) == [("mail", "weekly_digest", "sent", 81, 0)]
        assert await self.singles(counting) == 0

    async def singles(self, scheduler: Scheduler) -> int:
        found: int = await scheduler.connection.fetchval(
            "select count(*)::int from public.monitored_events where slot > 31"
        )
        return found


async def test_what_is_rolled_back_is_not_counted(counting: Scheduler) -> None:
    job, _ = await counting.running(key=str(uuid4()))
    await counting.age_lease(job, 100)
    transaction = counting.connection.transaction()
    await transaction.start()
    await counting.sweep_without_grace()
    assert len(await counted(counting)) == 1
    await transaction.rollback()
    assert await counted(counting) == []
