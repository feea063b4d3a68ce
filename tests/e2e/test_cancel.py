"""Cancel means stopped: over the whole stack, with Prefect up and down, and what comes after it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.e2e.harness import Admin, Job, until
from tests.e2e.test_deaths import is_alive, prefect_says, process_of


async def running(admin: Admin) -> tuple[str, int]:
    await admin.seed_bulk(20)
    await admin.fault("crawler", "slow", seconds=40, times=1)
    job = await admin.wait((await admin.trigger())["id"], "running")
    await asyncio.sleep(1)
    return job["id"], await process_of(admin, job["id"])


async def cancel(admin: Admin, job: str, status: int) -> Job:
    answer = await admin.http.post(f"/api/jobs/{job}/cancel")
    assert answer.status_code == status, answer.text
    body: Job = answer.json()
    return body


async def cancelled(admin: Admin, job: str, pid: int, seconds: float) -> Job:
    """The cancelled job; its process was gone by the time that the row said so."""

    async def stopped() -> Any:
        row = await admin.row(job)
        if row["status"] == "running":
            return None
        assert not is_alive(pid), "the row says cancelled, and the process lives"
        return row

    await until(stopped, seconds=seconds, what="the job is cancelled")
    return await admin.job(job)


async def test_a_running_job_is_cancelled_once_its_process_is_gone(admin: Admin) -> None:
    job, pid = await running(admin)
    receipt = (await cancel(admin, job, httpx.codes.ACCEPTED))["cancel"]
    assert receipt["stoppedAt"] is None
    ended = await cancelled(admin, job, pid, 45)
    assert ended["status"] == "cancelled"
    assert ended["result"]["success"] is False
    assert ended["cancel"]["requestedAt"] == receipt["requestedAt"]
    assert ended["cancel"]["stoppedAt"] is not None
    assert ended["cancel"]["safeToRetry"] is True
    await prefect_says(admin, job, "CANCELLED")
    assert (await cancel(admin, job, httpx.codes.OK))["status"] == "cancelled"
    await admin.fault("crawler", None)
    again = await admin.http.post(f"/api/jobs/{job}/retry")
    assert again.status_code == httpx.codes.ACCEPTED, again.text
    done = await admin.wait(again.json()["id"])
    assert (done["status"], done["retryOf"]) == ("completed", job)
    assert await admin.crawl_statuses() == {"completed": 20}


async def test_a_running_job_is_cancelled_while_prefect_is_down(admin: Admin) -> None:
    job, pid = await running(admin)
    await admin.stack.kill("prefect")
    await cancel(admin, job, httpx.codes.ACCEPTED)
    assert (await cancelled(admin, job, pid, 45))["status"] == "cancelled"
    await admin.stack.start("prefect")
    await prefect_says(admin, job, "CANCELLED", seconds=40)


async def test_a_waiting_job_is_cancelled_at_once_and_its_run_never_works(admin: Admin) -> None:
    await admin.stack.stop("worker")
    await admin.seed_bulk(3)
    job = (await admin.trigger())["id"]

    async def dispatched() -> Any:
        return (await admin.job(job))["flowRunId"]

    await until(dispatched, seconds=10, what="the job has a flow run")
    assert (await cancel(admin, job, httpx.codes.OK))["status"] == "cancelled"
    await admin.stack.start("worker")
    await prefect_says(admin, job, "CANCELLED")
    assert await admin.received("crawler") == []


async def test_a_pause_holds_every_start_back_and_lets_running_jobs_go_on(admin: Admin) -> None:
    await admin.seed_bulk(3)
    await admin.fault("crawler", "slow", seconds=5, times=1)
    first = await admin.wait((await admin.trigger())["id"], "running")
    answer = await admin.http.put("/api/maintenance", json={"paused": True, "reason": "a new index"})
    assert answer.is_success, answer.text
    second = await admin.trigger()
    assert (await admin.wait(first["id"]))["status"] == "completed"
    await asyncio.sleep(4)
    waiting = await admin.job(second["id"])
    assert (waiting["status"], waiting["pendingReason"]) == ("pending", "paused: a new index")
    told = (await admin.http.get(f"/api/jobs/{second['id']}/explain")).json()
    assert "a new index" in told["sentence"]
    assert (await admin.http.put("/api/maintenance", json={"paused": False, "reason": None})).is_success
    assert (await admin.wait(second["id"]))["status"] == "completed"
