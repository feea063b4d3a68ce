"""When a running job is expected to end, from earlier runs and its own pace: the rules, then on the real database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from api.estimates import Completion, completion
from flows.core.domain import Estimate, Job, JobStatus
from tests.api.conftest import Shim
from tests.conftest import Connection

START = datetime(2026, 11, 23, 9, tzinfo=UTC)
USUAL = Estimate(p10=100, p50=200, p90=400, runs=50)


def job(after: float, done: int | None = None, total: int | None = None, **more: Any) -> Job:
    """A job that began at START and showed itself alive so many seconds later."""
    told: dict[str, Any] = {
        "id": uuid4(),
        "job_type": "crawl_pending",
        "status": JobStatus.RUNNING,
        "created_at": START,
        "started_at": START,
        "updated_at": START + timedelta(seconds=after),
        "estimate": USUAL,
        "progress": None if done is None else {"itemsProcessed": done, "itemsTotal": total, "phase": "crawling"},
    }
    return Job(**{**told, **more})


def seconds(found: Completion | None) -> tuple[int, int, int]:
    assert found is not None
    earliest, middle, latest = (
        round((one - START).total_seconds()) for one in (found.earliest, found.middle, found.latest)
    )
    return earliest, middle, latest


def at(after: float) -> datetime:
    return START + timedelta(seconds=after)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (job(1), (100, 200, 400)),  # nothing is known but earlier runs
        (job(50, 3), (100, 200, 400)),  # nor with a count of which nobody knows the end
        (job(50, 0, 100), (100, 200, 400)),  # nor before the first item
        (job(95), (110, 200, 400)),  # it has not ended, and does not before its next beat
        (job(250), (265, 332, 400)),  # later than usual: between now and the latest, as far as is known
        (job(100, 50, 100), (140, 200, 310)),  # half done after 100 s: its pace says 200 s as well
        (job(300, 50, 100), (320, 400, 530)),  # slow: half history, half pace
        (job(600, 90, 100), (615, 620, 652)),  # far over the latest, but its pace tells
        (job(30, 90, 100), (45, 50, 71)),  # much faster than usual
    ],
)
def test_an_estimate_goes_from_history_to_the_jobs_own_pace(told: Job, expected: tuple[int, int, int]) -> None:
    assert seconds(completion(told, told.updated_at)) == expected


@pytest.mark.parametrize(
    "told",
    [
        job(1, status=JobStatus.PENDING, started_at=None),  # nobody knows when it starts
        job(1, status=JobStatus.COMPLETED),
        job(1, estimate=None),  # too few runs to go by
        job(500),  # overdue, and nothing tells by how much
        job(100, 100, 100),  # all done, it ends any moment
        job(1, cancel_requested_at=START),  # it ends when it has stopped
    ],
)
def test_there_is_no_estimate_where_nothing_tells(told: Job) -> None:
    assert completion(told, told.updated_at) is None


def test_an_estimate_is_never_in_the_past_nor_out_of_order() -> None:
    for after in range(0, 700, 7):
        for done in (None, 1, 20, 50, 99):
            for silent in (0, 10, 40):
                now = at(after + silent)
                if found := completion(job(after, done, 100), now):
                    assert now <= found.earliest <= found.middle <= found.latest


def test_two_reads_between_two_beats_tell_the_same() -> None:
    told = job(95, 10, 100)
    assert completion(told, at(95)) == completion(told, at(104))


async def ended(sql: Connection, seconds: list[int], parameters: str = "{}", *, parent: bool = False) -> None:
    """Completed crawls that lasted so long, the last one the newest."""
    await sql.execute(
        """insert into public.scheduled_jobs
             (job_type, status, parameters, parent_id, created_at, started_at, completed_at)
           select 'crawl_pending', 'completed', $2::jsonb, case when $3 then gen_random_uuid() end, at, at,
               at + s * interval '1 second'
             from (select s, now() - interval '1 day' + n * interval '1 minute' as at
                     from unnest($1::integer[]) with ordinality u (s, n)) t""",
        seconds,
        parameters,
        parent,
    )


async def started(sql: Connection) -> str | None:
    """The estimate, as JSON, that a crawl gets when it starts now."""
    job = await sql.fetchval(
        "insert into public.scheduled_jobs (job_type, parameters) values ('crawl_pending', '{}') returning id"
    )
    await sql.execute("select public.take_job($1, $1, 1, 'a worker')", job)
    estimate: str | None = await sql.fetchval("select estimate from public.scheduled_jobs where id = $1", job)
    return estimate


async def test_a_running_job_shows_when_it_is_expected_to_end(shim: Shim, sql: Connection) -> None:
    await ended(sql, list(range(100, 201, 2)))  # 51 of them: the oldest is not looked at
    job_id = (await shim.trigger()).json()["id"]
    assert (await shim.get(f"/api/jobs/{job_id}")).json()["estimatedCompletionAt"] is None
    await sql.execute("select public.take_job($1, $1, 1, 'a worker', '{}')", job_id)
    shown = (await shim.get(f"/api/jobs/{job_id}")).json()
    start = datetime.fromisoformat(shown["startedAt"])
    told = [
        (datetime.fromisoformat(shown[f"estimatedCompletion{one}"]) - start).total_seconds()
        for one in ("From", "At", "To")
    ]
    assert told == pytest.approx([111.8, 151, 190.2])
    (listed,) = (await shim.get("/api/jobs?status=running")).json()["jobs"]
    assert listed == shown


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([([10, 10, 10, 10], "{}")], None),  # four are too few
        ([([10, 10, 10, 10, 10], "{}")], 10),
        ([([1] * 20, '{"dry_run": true}')], None),  # a dry run tells nothing about a real one
        ([([10] * 5, '{"max_items": 10}'), ([1] * 20, '{"dry_run": true}')], 10),
        ([([900] * 20, '{"max_items": 1000}'), ([10] * 5, "{}")], 10),  # the same parameters tell more than others
        ([([900] * 20, '{"max_items": 1000}'), ([10] * 4, "{}")], 900),  # unless they are too few
        ([([10] * 5, "{}"), ([900] * 200, '{"max_items": 1000}')], 900),  # what is long ago is not looked for
    ],
)
async def test_an_estimate_is_made_from_runs_like_it(
    sql: Connection, history: list[tuple[list[int], str]], expected: int | None
) -> None:
    for one, parameters in history:
        await ended(sql, one, parameters)
    # Later ones are newer.
    await sql.execute(
        "with numbered as (select id, row_number() over (order by ctid) as n from public.scheduled_jobs)"
        " update public.scheduled_jobs j set created_at = now() - interval '1 day' + n.n * interval '1 second'"
        " from numbered n where n.id = j.id"
    )
    estimate = await started(sql)
    assert (None if estimate is None else json.loads(estimate)["p50"]) == expected


async def test_shards_tell_nothing_about_a_whole_job(sql: Connection) -> None:
    await ended(sql, [1] * 20, parent=True)
    assert await started(sql) is None
