"""The main job, from the trigger to the rows, on real parts."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import httpx
import pytest

from sandbox.standins.site_pages import SEED_PAGES
from tests.e2e.harness import Admin, connect, until
from tests.e2e.test_deaths import on_the_fork_server, process_of, recovered


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
    assert job["parameters"] == {"mode": "pending", "max_items": 5, "older_than_days": None, "ids": None}
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


async def crawled_long_ago(admin: Admin, pages: int) -> list[str]:
    """Ids of pages that were crawled 40 days ago; they have changed since."""
    await admin.seed_bulk(pages)
    rows = await admin.sql.fetch(
        "update public.discoveries set crawl_status = 'completed', title = 'as it was',"
        " last_crawled_at = now() - interval '40 days' where crawl_status = 'pending' returning id::text"
    )
    return [row["id"] for row in rows]


async def test_a_stale_run_crawls_again_what_was_crawled_long_ago(admin: Admin) -> None:
    ids = await crawled_long_ago(admin, 30)
    fresh, waiting = ids[:3], ids[3:5]
    await admin.sql.execute("update public.discoveries set last_crawled_at = now() where id = any($1::uuid[])", fresh)
    await admin.sql.execute(
        "update public.discoveries set crawl_status = 'pending' where id = any($1::uuid[])", waiting
    )
    parameters = {"mode": "stale", "older_than_days": 30}
    job = await admin.wait((await admin.trigger(parameters=parameters))["id"])
    assert job["status"] == "completed", job
    assert job["parameters"] == {"mode": "stale", "max_items": 1000, "older_than_days": 30, "ids": None}
    assert job["result"]["details"]["successfulCrawls"] == job["result"]["itemsProcessed"] == 25
    assert set(await admin.received("crawler")) == set(ids[5:])
    assert await admin.crawl_statuses() == {"completed": 28, "pending": 2}
    rows = await admin.sql.fetch("select title, count(*) from public.discoveries group by title = 'as it was', title")
    assert sum(row["count"] for row in rows if row["title"].startswith("Bulk page")) == 25
    again = await admin.wait((await admin.trigger(parameters=parameters))["id"])
    assert (again["status"], again["result"]["itemsProcessed"]) == ("completed", 0)


async def test_a_stale_run_takes_no_more_than_it_may(admin: Admin) -> None:
    await crawled_long_ago(admin, 150)
    parameters = {"mode": "stale", "older_than_days": 30, "max_items": 120}
    job = await admin.wait((await admin.trigger(parameters=parameters))["id"])
    assert job["result"]["itemsProcessed"] == 120
    received = await admin.received("crawler")
    assert len(received) == len(set(received)) == 120


async def test_a_refresh_crawls_the_pages_it_is_given_whatever_they_are(admin: Admin) -> None:
    ids = await crawled_long_ago(admin, 6)
    for one, change in zip(
        ids, ("crawl_status = 'pending'", "crawl_status = 'failed'", "deleted_at = now()"), strict=False
    ):
        await admin.sql.execute(f"update public.discoveries set {change} where id = $1", one)
    unknown = "00000000-0000-4000-8000-000000000000"
    job = await admin.trigger(parameters={"mode": "refresh", "ids": [*ids[:5], unknown, ids[0]]})
    ended = await admin.wait(job["id"])
    assert ended["status"] == "completed", ended
    assert ended["result"]["details"] | {"duration": ""} == {
        "successfulCrawls": 4,
        "failedCrawls": 2,
        "duration": "",
    }
    assert sorted(ended["result"]["errors"]) == sorted(
        f"{one}: there is no such discovery, or it is deleted" for one in (unknown, ids[2])
    )
    assert set(await admin.received("crawler")) == {ids[0], ids[1], ids[3], ids[4]}
    titles = await admin.sql.fetch("select id::text from public.discoveries where title = 'as it was'")
    assert {row["id"] for row in titles} == {ids[2], ids[5]}


async def test_pages_crawled_again_by_a_crawler_that_fails_stay_what_they_were(admin: Admin) -> None:
    ids = await crawled_long_ago(admin, 4)
    await admin.fault("crawler", "500")
    job = await admin.wait((await admin.trigger(parameters={"mode": "refresh", "ids": ids}))["id"], seconds=90)
    assert job["status"] == "failed"
    assert job["error"].startswith("none of 4 items succeeded: crawler answered 500")
    assert await admin.crawl_statuses() == {"completed": 4}


@pytest.mark.parametrize("mode", ["stale", "refresh"])
async def test_a_recrawl_that_is_killed_loses_no_row_and_shows_none_as_pending(admin: Admin, mode: str) -> None:
    on_the_fork_server(admin)
    ids = await crawled_long_ago(admin, 150)
    more: dict[str, Any] = {"older_than_days": 30} if mode == "stale" else {"ids": ids}
    seen: set[str] = set()
    # On a connection of its own: one does one thing at a time.
    watcher = Admin(admin.stack, admin.http, await connect(admin.stack))

    async def watch() -> None:
        try:
            while True:
                seen.update(await watcher.crawl_statuses())
                await asyncio.sleep(0.05)
        finally:
            await watcher.sql.close()

    await admin.fault("crawler", "slow", seconds=20, times=1)
    job = await admin.wait((await admin.trigger(parameters={"mode": mode, **more}))["id"], "running")
    watching = asyncio.create_task(watch())
    await asyncio.sleep(1)
    os.kill(await process_of(admin, job["id"]), signal.SIGKILL)
    assert (await admin.wait(job["id"], seconds=30))["status"] == "failed"
    again = await recovered(admin, job["id"])
    watching.cancel()
    assert again["status"] == "completed", again
    assert again["parameters"] == job["parameters"]
    assert seen <= {"completed", "crawling"}, "a page vanished"
    assert await admin.crawl_statuses() == {"completed": 150}
    assert await admin.sql.fetchval("select count(*) from public.discoveries where title = 'as it was'") == 0


async def test_a_mode_without_what_it_needs_says_so(admin: Admin) -> None:
    await admin.wait((await admin.trigger(parameters={}))["id"])
    answer = await admin.http.post(
        "/api/jobs/trigger", json={"jobType": "crawl_pending", "parameters": {"mode": "stale"}}
    )
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert answer.json()["error"] == "parameters.older_than_days: is needed with mode 'stale'"
    # Past the shim, as in Prefect's UI, the run itself says it.
    accepted = await admin.sql.fetchval(
        "select accept_job($1, $2) -> 'job' ->> 'id'",
        {"job_type": "crawl_pending", "origin": "dashboard", "parameters": {"mode": "stale"}},
        {"actor": "harness", "action": "trigger"},
    )
    job = await admin.wait(accepted)
    assert job["status"] == "failed"
    assert "mode 'stale' needs older_than_days" in job["error"]
