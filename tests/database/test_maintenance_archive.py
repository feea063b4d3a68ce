"""The archive: an ended job is there or here, never both and never neither, and can still be read and retried."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.database.conftest import Scheduler
from tests.maintenance import Connection, Maintenance, snapshot

COLUMNS = """
select attname, atttypid::regtype::text, attnum from pg_attribute
where attrelid = $1::text::regclass and attnum > 0 and not attisdropped order by attnum
"""


async def ended(site: Connection, *, age: str = "91 days", **columns: Any) -> UUID:
    given = {"job_type": "crawl_pending", "status": "failed", "origin": "dashboard", **columns}
    names, places = ", ".join(given), ", ".join(f"${number}" for number in range(2, len(given) + 2))
    found: UUID = await site.fetchval(
        f"insert into public.scheduled_jobs (completed_at, created_at, {names})"
        f" values (now() - $1::text::interval, now() - $1::text::interval, {places}) returning id",
        age,
        *given.values(),
    )
    return found


async def where(site: Connection, job: UUID) -> list[str]:
    tables = ("scheduled_jobs", "scheduled_jobs_archive")
    return [name for name in tables if await site.fetchval(f"select 1 from public.{name} where id = $1", job)]


async def test_the_archive_has_the_columns_of_the_table(site: Connection) -> None:
    here = await site.fetch(COLUMNS, "public.scheduled_jobs")
    there = await site.fetch(COLUMNS, "public.scheduled_jobs_archive")
    names = [[tuple(row)[:2] for row in rows] for rows in (here, there)]
    assert names[0] == names[1], "a column of scheduled_jobs is to be added to scheduled_jobs_archive as well"


@pytest.mark.parametrize(
    ("job", "moves"),
    [
        ({}, True),
        ({"status": "completed"}, True),
        ({"status": "cancelled"}, True),
        ({"age": "89 days 23 hours"}, False),
        ({"run_open": True}, False),  # Prefect and the row have not been seen to agree
        ({"run_open": False}, True),
        ({"status": "running"}, False),
        ({"status": "pending"}, False),
        ({"origin": None}, True),  # a row of the published scheduler
    ],
)
async def test_ended_jobs_of_more_than_90_days_move(
    maintenance: Maintenance, site: Connection, job: dict[str, Any], *, moves: bool
) -> None:
    moved = await ended(site, **job)
    before = await site.fetchval("select to_jsonb(j) from public.scheduled_jobs j where id = $1", moved)
    assert await maintenance.walk("archive_jobs", 10, dry_run=True) == moves
    assert await maintenance.walk("archive_jobs", 10) == moves
    assert await where(site, moved) == ["scheduled_jobs_archive" if moves else "scheduled_jobs"]
    if moves:
        assert (
            await site.fetchval("select to_jsonb(j) from public.scheduled_jobs_archive j where id = $1", moved)
            == before
        )
    assert await maintenance.walk("archive_jobs", 10) == 0


async def test_a_job_that_is_to_be_tried_again_stays(maintenance: Maintenance, site: Connection) -> None:
    job = await ended(site)
    await site.execute("update public.scheduled_jobs set recover_at = now() where id = $1", job)
    assert await maintenance.walk("archive_jobs", 10) == 0


async def test_two_runs_beside_each_other_move_every_job_once(
    maintenance: Maintenance, another: Scheduler, site: Connection
) -> None:
    await site.execute(
        "insert into public.scheduled_jobs (job_type, status, completed_at)"
        " select 'crawl_pending', 'completed', now() - interval '100 days' from generate_series(1, 1100)"
    )
    other = await Maintenance.begin(another)
    moved = await asyncio.gather(maintenance.walk("archive_jobs", 13), other.walk("archive_jobs", 17))
    assert sum(moved) == 1100
    assert await site.fetchval("select count(distinct id) from public.scheduled_jobs_archive") == 1100


async def test_a_job_that_changes_while_it_is_to_be_moved_is_judged_anew(
    maintenance: Maintenance, another: Scheduler, site: Connection
) -> None:
    job = await ended(site)
    async with another.connection.transaction():
        await another.connection.execute("update public.scheduled_jobs set run_open = true where id = $1", job)
        moving = asyncio.create_task(maintenance.walk("archive_jobs", 10))
        await asyncio.sleep(0.2)
        assert not moving.done()
    assert await moving == 0
    assert await where(site, job) == ["scheduled_jobs"]


async def test_a_dry_run_changes_no_row(maintenance: Maintenance, site: Connection) -> None:
    await ended(site)
    before = await snapshot(site)
    await maintenance.walk("archive_jobs", 10, dry_run=True)
    assert await snapshot(site) == before


class TestRetry:
    async def retry(self, scheduler: Scheduler, job: UUID) -> dict[str, Any]:
        answer: dict[str, Any] = await scheduler.call(
            "accept_job",
            job={"retry_of": str(job), "origin": "dashboard"},
            audit={"actor": "somebody", "action": "retry"},
        )
        return answer

    async def test_an_archived_job_can_be_retried_once(
        self, maintenance: Maintenance, scheduler: Scheduler, site: Connection
    ) -> None:
        job = await ended(site, parameters={"max_items": 7})
        await maintenance.walk("archive_jobs", 10)
        answer = await self.retry(scheduler, job)
        assert answer["outcome"] == "accepted"
        assert (answer["job"]["retry_of"], answer["job"]["parameters"]) == (str(job), {"max_items": 7})
        again = await self.retry(scheduler, job)
        assert again["outcome"] == "conflict"
        assert answer["job"]["id"] in again["reason"]

    async def test_a_retry_that_is_archived_as_well_is_named(
        self, maintenance: Maintenance, scheduler: Scheduler, site: Connection
    ) -> None:
        job = await ended(site)
        retried = await ended(site, retry_of=job)
        await maintenance.walk("archive_jobs", 10)
        answer = await self.retry(scheduler, job)
        assert answer["outcome"] == "conflict"
        assert str(retried) in answer["reason"]
        assert await where(site, job) == await where(site, retried) == ["scheduled_jobs"]
        # Nobody has just accepted the two.
        assert not await site.fetchval(
            "select count(*) from public.job_events where job_id = $1 and kind = 'accepted' and at > now()", job
        )
        assert await maintenance.walk("archive_jobs", 10) == 2

    async def test_an_unknown_job_is_still_unknown(self, scheduler: Scheduler) -> None:
        answer = await self.retry(scheduler, uuid4())
        assert (answer["outcome"], answer["job"]) == ("conflict", None)


class TestRuns:
    async def test_a_run_finds_its_archived_job_ended(
        self, maintenance: Maintenance, scheduler: Scheduler, site: Connection
    ) -> None:
        run = uuid4()
        job = await ended(site, id=run, flow_run_id=run, attempt=1)
        await maintenance.walk("archive_jobs", 10)
        assert await scheduler.adopt(flow_run_id=run) == job
        assert (await scheduler.take(job, run))["decision"] == "closed"
        assert await where(site, job) == ["scheduled_jobs"]

    async def test_a_run_that_is_retried_in_prefect_gets_a_job_of_its_own(
        self, maintenance: Maintenance, scheduler: Scheduler, site: Connection
    ) -> None:
        run = uuid4()
        job = await ended(site, flow_run_id=run, attempt=1)
        await maintenance.walk("archive_jobs", 10)
        again = await scheduler.adopt(flow_run_id=run, attempt=2)
        row = await scheduler.row(again)
        assert (row["retry_of"], row["flow_run_id"], row["attempt"]) == (job, run, 2)


class TestReading:
    async def test_explain_knows_an_archived_job_and_its_retry(
        self, maintenance: Maintenance, scheduler: Scheduler, site: Connection
    ) -> None:
        job = await ended(site)
        retried = await ended(site, retry_of=job)
        await maintenance.walk("archive_jobs", 10)
        found = await scheduler.call("explain_job", id=job)
        assert (found["job"]["id"], found["retry"]) == (str(job), str(retried))

    async def test_the_archive_is_listed_apart(
        self, maintenance: Maintenance, scheduler: Scheduler, site: Connection
    ) -> None:
        old = [await ended(site, age=f"{100 + days} days") for days in range(5)]
        new = await ended(site, age="1 day")
        await maintenance.walk("archive_jobs", 10)

        async def listed(**filters: Any) -> list[str]:
            answer = await scheduler.call("list_jobs", filter=filters, limit=100)
            assert answer["total"] == len(answer["jobs"])
            return [job["id"] for job in answer["jobs"]]

        assert await listed(archived=True, statuses=["failed"]) == [str(job) for job in old]
        assert await listed(archived=True, statuses=["completed"]) == []
        assert await listed(statuses=["failed"]) == await listed(statuses=["failed"], archived=False) == [str(new)]
