"""A cron's runs: each has its row by itself, and one that finds its type running is skipped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.e2e.harness import Admin, until


@asynccontextmanager
async def every_few_seconds(admin: Admin) -> AsyncIterator[None]:
    """crawl_pending on a schedule of every 5 seconds."""
    wiring = admin.stack.wiring
    async with httpx.AsyncClient(
        base_url=wiring.url("prefect"), headers=wiring.prefect_headers, trust_env=False
    ) as http:
        deployment = (await http.get("/deployments/name/crawl_pending/crawl_pending")).raise_for_status().json()["id"]
        body = [{"active": True, "schedule": {"interval": 5, "anchor_date": "2026-01-01T00:00:00Z", "timezone": "UTC"}}]
        made = (await http.post(f"/deployments/{deployment}/schedules", json=body)).raise_for_status().json()
        # Prefect's scheduler looks once a minute, and every five seconds at deployments that have just changed.
        (await http.patch(f"/deployments/{deployment}", json={"paused": False})).raise_for_status()
        try:
            yield
        finally:
            (await http.delete(f"/deployments/{deployment}/schedules/{made[0]['id']}")).raise_for_status()


async def test_a_scheduled_run_has_its_row_and_one_that_finds_its_type_running_is_skipped(admin: Admin) -> None:
    await admin.seed_bulk(3)
    await admin.fault("crawler", "slow", seconds=12, times=1)

    async def skipped() -> Any:
        return await admin.sql.fetch(
            "select * from public.scheduled_jobs where status = 'cancelled' order by created_at"
        )

    async with every_few_seconds(admin):
        found = await until(skipped, seconds=90, what="a schedule was skipped")
    rows = await admin.sql.fetch("select * from public.scheduled_jobs order by started_at nulls last")
    first = rows[0]
    assert (first["origin"], first["started_by"]) == ("schedule", None)
    assert first["created_at"].second % 5 == 0, "created_at is the scheduled time"
    assert first["created_at"].microsecond == 0
    assert found[0]["error"] == f"skipped: job {first['id']} of this type had not ended"
    assert found[0]["started_at"] is None
    ended = await admin.wait(str(first["id"]))
    assert ended["status"] == "completed"

    async def all_ended() -> Any:
        return not await admin.sql.fetchval(
            "select count(*) from public.scheduled_jobs where status in ('pending', 'running')"
        )

    await until(all_ended, seconds=60, what="every scheduled job has ended")
    assert len(await admin.received("crawler")) == 3


async def test_of_the_fires_that_an_outage_of_the_workers_held_back_only_the_latest_runs(admin: Admin) -> None:
    await admin.seed_bulk(3)
    await admin.stack.stop("worker")
    due = "select count(*) from public.scheduled_jobs where origin = 'schedule'"

    async def three_due() -> Any:
        return await admin.sql.fetchval(due) >= 3

    async with every_few_seconds(admin):
        await until(three_due, seconds=90, what="three fires are due")
        await admin.stack.start("worker")

        async def one_ran() -> Any:
            return await admin.sql.fetchrow("select * from public.scheduled_jobs where status = 'completed'")

        ran = await until(one_ran, seconds=60, what="a fire has run")
    earlier = await admin.sql.fetch("select * from public.scheduled_jobs where created_at < $1", ran["created_at"])
    assert len(earlier) >= 2
    assert {row["status"] for row in earlier} == {"cancelled"}
    assert all(row["error"].startswith(("superseded: ", "skipped: ")) for row in earlier), [r["error"] for r in earlier]
    assert any(row["error"].startswith("superseded: ") for row in earlier)
    assert all(row["started_at"] is None for row in earlier)


async def test_a_schedule_switched_off_while_prefect_is_down_has_no_effect(admin: Admin) -> None:
    await admin.seed_bulk(3)
    await admin.stack.stop("worker")
    due = "select count(*) from public.scheduled_jobs where origin = 'schedule'"

    async def one_due() -> Any:
        return await admin.sql.fetchval(due)

    async with every_few_seconds(admin):
        await until(one_due, seconds=90, what="a fire is due")
        await admin.stack.stop("prefect")
        await admin.sql.execute(
            "insert into public.schedule_overrides (job_type, enabled) values ('crawl_pending', false)"
        )
        await admin.stack.start("prefect")
        await admin.stack.start("worker")

        async def closed() -> Any:
            return await admin.sql.fetch("select * from public.scheduled_jobs where error like 'disabled: %'")

        await until(closed, seconds=60, what="the fires are closed as disabled")
    assert await admin.received("crawler") == []
    assert await admin.sql.fetchval("select count(*) from public.scheduled_jobs where started_at is not null") == 0
