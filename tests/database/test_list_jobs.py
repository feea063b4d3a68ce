"""A page of jobs is the same as filtering and sorting all rows, whichever way the database takes to it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from flows.core.domain import JobStatus, JobType
from tests.database.conftest import Scheduler

USERS = ["one", "another", "10% of 'them'", None]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def fill(
    scheduler: Scheduler, seed: int, rows: int = 1500, table: str = "scheduled_jobs"
) -> list[dict[str, Any]]:
    """Random jobs, several of which share an instant; newest first."""
    rng = random.Random(seed)
    parents = [UUID(int=rng.getrandbits(128)) for _ in range(3)]
    made = [
        {
            "id": UUID(int=rng.getrandbits(128)),
            "job_type": rng.choice(list(JobType)[:4]),
            "status": rng.choices(list(JobStatus), (3, 3, 90, 3, 1))[0],
            "started_by": rng.choice(USERS),
            "parent_id": rng.choice(parents) if rng.random() < 0.05 else None,
            "created_at": NOW - timedelta(seconds=rng.randrange(rows)),
        }
        for _ in range(rows)
    ]
    await scheduler.connection.executemany(
        f"insert into public.{table} (id, job_type, status, started_by, parent_id, created_at)"
        " values ($1, $2, $3, $4, $5, $6)",
        [tuple(one.values()) for one in made],
    )
    return sorted(made, key=lambda one: (one["created_at"], one["id"]), reverse=True)


def matching(rows: list[dict[str, Any]], asked: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        one
        for one in rows
        if one["job_type"] in asked.get("types", [one["job_type"]])
        and one["status"] in asked.get("statuses", [one["status"]])
        and one["started_by"] in asked.get("startedBy", [one["started_by"]])
        and str(one["parent_id"]) == asked.get("parent", str(one["parent_id"]))
        and one["created_at"] >= datetime.fromisoformat(asked.get("from", "1970-01-01T00:00:00Z"))
        and one["created_at"] <= datetime.fromisoformat(asked.get("to", "2070-01-01T00:00:00Z"))
    ]


def some_filter(rng: random.Random, rows: list[dict[str, Any]]) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if rng.random() < 0.5:
        asked["types"] = rng.sample([*list(JobType), "none such"], rng.randint(1, 3))
    if rng.random() < 0.5:
        asked["statuses"] = rng.sample(list(JobStatus), rng.randint(1, 3))
    if rng.random() < 0.3:
        asked["startedBy"] = rng.sample(["one", "another", "10% of 'them'", "nobody"], rng.randint(1, 2))
    if rng.random() < 0.1:
        asked["parent"] = str(rng.choice([one["parent_id"] for one in rows if one["parent_id"]]))
    if rng.random() < 0.3:
        asked["from"] = (NOW - timedelta(seconds=rng.randrange(1500))).isoformat()
    if rng.random() < 0.3:
        asked["to"] = (NOW - timedelta(seconds=rng.randrange(1500))).isoformat()
    return asked


@pytest.mark.parametrize("seed", range(4))
async def test_any_page_is_what_filtering_all_rows_gives(scheduler: Scheduler, seed: int) -> None:
    rng = random.Random(seed)
    archived = seed % 2 == 1
    await scheduler.connection.execute("truncate public.scheduled_jobs_archive")
    rows = await fill(scheduler, seed, table="scheduled_jobs_archive" if archived else "scheduled_jobs")
    for _ in range(60):
        asked = some_filter(rng, rows)
        found = matching(rows, asked)
        limit, offset = rng.randint(1, 60), rng.choice([0, 0, 1, 40, 480, 501, 900, 1490])
        below = rng.choice(rows) if rng.random() < 0.3 else None
        if below is not None:
            wanted = [one for one in found if (one["created_at"], one["id"]) < (below["created_at"], below["id"])]
        else:
            wanted = found
        page = await scheduler.call(
            "list_jobs",
            filter=asked | ({"archived": True} if archived else {}),
            limit=limit,
            offset=offset,
            before_at=below and below["created_at"],
            before_id=below and below["id"],
        )
        told = [UUID(one["id"]) for one in page["jobs"]]
        assert told == [one["id"] for one in wanted[offset : offset + limit]], (asked, limit, offset, below)
        assert (page["total"], page["totalIsEstimate"]) == (len(found), False), asked
    await scheduler.connection.execute("truncate public.scheduled_jobs_archive")


@pytest.mark.parametrize(
    "asked", [{}, {"statuses": ["completed"]}, {"types": ["crawl_pending"], "startedBy": ["one", "two"]}]
)
async def test_a_total_over_ten_thousand_is_estimated(scheduler: Scheduler, asked: dict[str, Any]) -> None:
    await scheduler.connection.execute(
        "insert into public.scheduled_jobs (job_type, status, started_by, created_at)"
        " select 'crawl_pending', 'completed', 'one', now() - i * interval '1 second' from generate_series(1, 10000) i"
    )
    page = await scheduler.call("list_jobs", filter=asked, limit=1)
    assert (page["total"], page["totalIsEstimate"]) == (10_000, False)
    await scheduler.connection.execute(
        "insert into public.scheduled_jobs (job_type, status, started_by)"
        " select 'crawl_pending', 'completed', 'one' from generate_series(1, 5000) i"
    )
    await scheduler.connection.execute("analyze public.scheduled_jobs")
    page = await scheduler.call("list_jobs", filter=asked, limit=1)
    assert page["totalIsEstimate"]
    assert page["total"] == pytest.approx(15_000, rel=0.1)


@pytest.mark.parametrize(
    "asked",
    [
        '{"statuses": ["pending"]}',
        '{"statuses": ["failed", "cancelled"]}',
        '{"types": ["weekly_digest"], "statuses": ["failed"]}',
        '{"statuses": ["failed"], "startedBy": ["one"]}',
        '{"statuses": ["failed"], "from": "2026-11-20T00:00:00Z"}',
        '{"statuses": ["failed"], "to": "2026-11-01T00:00:00Z"}',
    ],
)
async def test_what_is_rare_is_found_without_reading_what_is_not(scheduler: Scheduler, asked: str) -> None:
    """The planner believes that what it is asked for is as frequent as anything, and must not be able to act on it.

    With ten million rows the newest of all look cheap to it, because they lie side by side; here that takes a setting.
    """
    await scheduler.connection.execute(
        "insert into public.scheduled_jobs (job_type, status, started_by, created_at)"
        " select (array['crawl_pending', 'weekly_digest', 'update_metrics'])[1 + i % 3],"
        "   case when i % 10000 = 7 then 'failed' when i = 8 then 'pending' else 'completed' end, 'one',"
        "   timestamptz '2026-11-01T00:00:00Z' + i * interval '1 minute' from generate_series(1, 40000) i"
    )
    await scheduler.connection.execute("vacuum analyze public.scheduled_jobs")
    await scheduler.connection.execute("set random_page_cost = 100")
    assert await scheduler.rows_read(f"select public.list_jobs('{asked}', 51)") < 100
    await scheduler.connection.execute("reset random_page_cost")


async def test_a_beat_changes_no_index(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    beaten = {"updated_at", "locked_at", "progress"}
    before = await scheduler.row(job)
    await scheduler.call("beat_job", id=job, fence=fence, progress={"itemsProcessed": 1})
    after = await scheduler.row(job)
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= beaten
    indexed = await scheduler.connection.fetch(
        "select c.relname, a.attname from pg_index i join pg_class c on c.oid = i.indexrelid"
        " join pg_attribute a on a.attrelid = i.indrelid"
        "   and (a.attnum = any (i.indkey::smallint[])"
        "     or pg_get_expr(i.indpred, i.indrelid) like '%' || a.attname || '%')"
        " where i.indrelid = 'public.scheduled_jobs'::regclass and a.attname = any ($1)",
        list(beaten),
    )
    assert [tuple(one) for one in indexed] == []
