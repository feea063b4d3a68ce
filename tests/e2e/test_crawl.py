"""The main job, from the trigger to the rows, on real parts."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from sandbox.standins.site_pages import SEED_PAGES
from tests.e2e.harness import Admin, until


async def test_a_trigger_crawls_every_pending_page_and_the_row_tells_it(admin: Admin) -> None:
    seeded = await admin.seed_pages()
    accepted = await admin.trigger(triggeredBy="test_user")
    assert accepted["status"] == "pending"
    assert accepted["startedAt"] is None
    job = await admin.wait(accepted["jobId"])
    assert job["status"] == "completed", job
    result = job["result"]
    assert result["success"] is True
    assert result["itemsProcessed"] == seeded == len(SEED_PAGES)
    assert result["details"]["successfulCrawls"] + result["details"]["failedCrawls"] == seeded
    assert len(result["errors"]) == result["details"]["failedCrawls"]
    assert job["progress"]["itemsProcessed"] == seeded
    rows = await admin.sql.fetch("select url, crawl_status, title from public.discoveries")
    site = admin.stack.wiring.url("site")
    assert {(row["url"].removeprefix(site), row["crawl_status"], row["title"]) for row in rows} == {
        (page.path, page.crawl_status, page.title) for page in SEED_PAGES
    }


@pytest.mark.parametrize("name", ["jobId", "id"])
async def test_a_client_that_knows_one_name_of_the_id_can_poll_to_the_end(admin: Admin, name: str) -> None:
    await admin.seed_bulk(3)
    job_id = (await admin.trigger())[name]
    for _ in range(200):
        job = (await admin.http.get(f"/api/jobs/{job_id}")).json()
        if job["status"] in ("completed", "failed", "cancelled"):
            break
        await asyncio.sleep(0.3)
    assert job[name] == job_id
    assert job["result"]["details"]["successfulCrawls"] == 3


async def test_a_run_without_work_is_completed(admin: Admin) -> None:
    job = await admin.wait((await admin.trigger())["id"])
    assert (job["status"], job["result"]["itemsProcessed"]) == ("completed", 0)


async def test_parameters_reach_the_run(admin: Admin) -> None:
    await admin.seed_bulk(12)
    job = await admin.wait((await admin.trigger(parameters={"max_items": 5}, priority="HIGH"))["id"])
    assert job["parameters"] == {"mode": "pending", "max_items": 5}
    assert job["result"]["itemsProcessed"] == 5
    assert await admin.crawl_statuses() == {"completed": 5, "pending": 7}


async def test_the_prefect_run_tells_the_story_by_itself(admin: Admin) -> None:
    await admin.seed_bulk(2)
    job = await admin.wait((await admin.trigger())["id"])
    (run,) = await admin.runs_of(job["id"])
    assert run["name"].startswith("crawl_pending 20")
    assert {"crawl_pending", "dashboard"} <= set(run["tags"])
    assert run["id"] == job["flowRunId"]

    async def state() -> Any:
        (now,) = await admin.runs_of(job["id"])
        return now["state"]["type"] == "COMPLETED" and now["state"]["message"] == "2 items processed"

    await until(state, seconds=5, what="Prefect says Completed")


async def test_a_second_trigger_waits_for_the_first_and_says_so(admin: Admin) -> None:
    await admin.seed_bulk(3)
    await admin.fault("crawler", "slow", seconds=4, times=1)
    first, second = await admin.trigger(), await admin.trigger()
    await admin.wait(first["id"], "running")
    waiting = await admin.job(second["id"])
    assert (waiting["status"], waiting["pendingReason"]) == ("pending", f"waiting for job {first['id']} to end")
    ended = await admin.wait(second["id"])
    assert ended["status"] == "completed"
    assert ended["startedAt"] >= (await admin.job(first["id"]))["completedAt"]


async def test_two_runs_at_once_send_every_row_once(admin: Admin) -> None:
    await admin.seed_bulk(1000)
    # Past the gate, as no caller of the API can: jobs without a key run beside anything.
    jobs = await admin.sql.fetch(
        "select accept_job(jsonb_build_object('job_type', 'crawl_pending', 'origin', 'dashboard'),"
        ' \'{"actor": "harness", "action": "trigger"}\') -> \'job\' ->> \'id\' as id from generate_series(1, 2)'
    )
    ended = await asyncio.gather(*(admin.wait(row["id"], seconds=120) for row in jobs))
    assert [job["status"] for job in ended] == ["completed", "completed"]
    done = [job["result"]["itemsProcessed"] for job in ended]
    assert sum(done) == 1000
    assert min(done) > 0, "the two did not run side by side"
    received = await admin.received("crawler")
    assert len(received) == len(set(received)) == 1000
    assert await admin.crawl_statuses() == {"completed": 1000}


async def test_a_run_whose_process_is_told_to_end_says_so_at_once(admin: Admin) -> None:
    await admin.seed_bulk(3)
    await admin.fault("crawler", "slow", seconds=30, times=1)
    job = await admin.trigger()
    await admin.wait(job["id"], "running")
    await asyncio.sleep(1)
    os.kill(int((await admin.row(job["id"]))["locked_by"].rpartition("/")[2]), signal.SIGTERM)
    ended = await admin.wait(job["id"], seconds=10)
    assert (ended["status"], ended["error"]) == ("failed", "stopped: its process was told to end")
    assert (await admin.wait((await admin.trigger())["id"]))["status"] == "completed"
    assert await admin.crawl_statuses() == {"completed": 3}
