"""GET /api/jobs/stats: numbers about jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.core.domain import JobType
from tests.api.conftest import Shim
from tests.conftest import Connection

NOTHING = {"pending": 0, "running": 0, "completed": 0, "failed": 0, "cancelled": 0, "skipped": 0}


async def ended(sql: Connection, status: str, count: int = 1, *, days: int = 0, seconds: int = 10, **more: Any) -> None:
    given = {"job_type": "crawl_pending", "result": '{"itemsProcessed": 4}', **more}
    await sql.execute(
        f"""insert into public.scheduled_jobs (status, created_at, started_at, completed_at, {", ".join(given)})
            select $1, at - interval '1 hour', at - $4 * interval '1 second', at,
                {", ".join(f"${number}" for number in range(5, 5 + len(given)))}
              from (select now() - $3 * interval '1 day' as at from generate_series(1, $2::integer)) t""",
        status,
        count,
        days,
        seconds,
        *given.values(),
    )


class TestStats:
    async def test_tells_every_type_also_without_a_job(self, shim: Shim) -> None:
        body = (await shim.get("/api/jobs/stats")).json()
        today = datetime.now(UTC).date()
        assert (body["days"], body["from"], body["to"]) == (30, str(today - timedelta(days=29)), str(today))
        assert [one["jobType"] for one in body["types"]] == list(JobType)
        nothing = {
            "counts": NOTHING,
            "successRate": None,
            "averageSeconds": None,
            "medianSeconds": None,
            "p90Seconds": None,
            "itemsProcessed": 0,
            "queueDepth": 0,
            "running": 0,
            "estimates": 0,
            "estimateHitRate": None,
        }
        assert body["overall"] == nothing
        for one in body["types"]:
            daily = one.pop("daily")
            assert one.pop("jobType")
            assert one == nothing
            assert [day["date"] for day in daily] == [str(today - timedelta(days=29 - back)) for back in range(30)]
            assert {day["completed"] + day["failed"] + day["cancelled"] for day in daily} == {0}

    async def test_counts_what_ended_in_these_days_and_what_is_open_now(self, shim: Shim, sql: Connection) -> None:
        await ended(sql, "completed", 3, seconds=10)
        await ended(sql, "completed", 2, seconds=100, days=6)
        await ended(sql, "failed", 1, days=1)
        await ended(sql, "cancelled", 1)
        await ended(sql, "completed", 9, days=7)  # a day too old
        await sql.execute(
            "insert into public.scheduled_jobs (job_type, status, origin, error, completed_at)"
            " values ('crawl_pending', 'cancelled', 'schedule', 'skipped: job 1 of this type had not ended', now())"
        )
        await ended(sql, "completed", 5, job_type="weekly_digest", seconds=1000)
        for _ in range(2):
            await shim.trigger()
        body = (await shim.get("/api/jobs/stats?days=7")).json()
        crawl, digest = body["types"][0], body["types"][1]
        assert crawl["jobType"] == "crawl_pending"
        assert crawl["counts"] == {**NOTHING, "pending": 2, "completed": 5, "failed": 1, "cancelled": 1, "skipped": 1}
        assert crawl["successRate"] == pytest.approx(5 / 6)
        assert crawl["averageSeconds"] == pytest.approx((3 * 10 + 2 * 100) / 5)
        assert crawl["medianSeconds"] == pytest.approx(10, rel=0.05)
        assert crawl["p90Seconds"] == pytest.approx(100, rel=0.05)
        assert crawl["itemsProcessed"] == 7 * 4
        assert (crawl["queueDepth"], crawl["running"]) == (2, 0)
        days = [(day["completed"], day["failed"], day["cancelled"]) for day in crawl["daily"]]
        assert days == [(2, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 1, 0), (3, 0, 1)]
        assert digest["counts"]["completed"] == 5
        assert body["overall"]["counts"] == {**crawl["counts"], "completed": 10}
        assert body["overall"]["medianSeconds"] == pytest.approx(100, rel=0.05)

    async def test_shows_types_of_an_earlier_scheduler_as_well(self, shim: Shim, sql: Connection) -> None:
        await ended(sql, "failed", job_type="warm_caches")
        *ours, other = (await shim.get("/api/jobs/stats")).json()["types"]
        assert len(ours) == len(JobType)
        assert (other["jobType"], other["successRate"]) == ("warm_caches", 0)

    @pytest.mark.parametrize("query", ["days=0", "days=366", "days=many", "days=30&month=1", "days="])
    async def test_refuses_what_it_does_not_know(self, shim: Shim, query: str) -> None:
        answer = await shim.get(f"/api/jobs/stats?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")

    async def test_is_for_admins(self, shim: Shim) -> None:
        assert (await shim.http.get("/api/jobs/stats")).status_code == 401
