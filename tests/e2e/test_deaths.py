"""A process that dies is known for dead in seconds, and its work is done in the end without anybody asking."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.harness import Admin, Job, until


async def running(admin: Admin, pages: int = 20) -> tuple[str, int]:
    """A job in the middle of its first batch; its id and its process."""
    await admin.seed_bulk(pages)
    await admin.fault("crawler", "slow", seconds=20, times=1)
    job = await admin.wait((await admin.trigger())["id"], "running")
    await asyncio.sleep(1)
    return job["id"], await process_of(admin, job["id"])


async def process_of(admin: Admin, job: str) -> int:
    return int((await admin.row(job))["locked_by"].rpartition("/")[2])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def recovered(admin: Admin, job: str, seconds: float = 60) -> Job:
    """The job that tries this one again, ended. Its time is made to come now."""
    await admin.sql.execute("update public.scheduled_jobs set recover_at = now() where id = $1", job)

    async def there() -> Any:
        return await admin.sql.fetchval("select id::text from public.scheduled_jobs where retry_of = $1", job)

    return await admin.wait(await until(there, seconds=10, what="the dead job is tried again"), seconds=seconds)


async def prefect_says(admin: Admin, job: str, kind: str, seconds: float = 30) -> None:
    async def said() -> Any:
        runs = await admin.runs_of(job)
        return bool(runs) and all(run["state"]["type"] == kind for run in runs)

    await until(said, seconds=seconds, what=f"Prefect's run is {kind}")


def on_the_fork_server(admin: Admin) -> None:
    if admin.stack.wiring.worker_type == "process":
        pytest.skip("Prefect's process worker does not tell the row; the beats' silence does, seconds later")


async def test_a_killed_process_fails_its_job_in_seconds_and_it_is_tried_again(admin: Admin) -> None:
    on_the_fork_server(admin)
    job, pid = await running(admin)
    os.kill(pid, signal.SIGKILL)
    died = await admin.wait(job, seconds=30)
    assert died["status"] == "failed"
    assert died["error"].startswith("Killed (SIGKILL)")
    assert died["result"]["details"] == {"died": True}
    await prefect_says(admin, job, "CRASHED")
    again = await recovered(admin, job)
    assert (again["status"], again["origin"], again["startedBy"]) == ("completed", "recovery", None)
    assert await admin.crawl_statuses() == {"completed": 20}


async def test_a_killed_process_is_known_for_dead_while_prefect_is_down(admin: Admin) -> None:
    on_the_fork_server(admin)
    job, pid = await running(admin)
    await admin.stack.kill("prefect")
    os.kill(pid, signal.SIGKILL)
    assert (await admin.wait(job, seconds=30))["status"] == "failed"
    await admin.stack.start("prefect")
    await prefect_says(admin, job, "CRASHED", seconds=40)


async def test_a_job_that_failed_by_its_own_error_is_not_tried_again(admin: Admin) -> None:
    await admin.seed_bulk(2)
    await admin.stack.stop("crawler")
    job = await admin.wait((await admin.trigger())["id"], seconds=120)
    assert job["status"] == "failed"
    row = await admin.row(job["id"])
    assert (row["died"], row["recover_at"]) == (None, None)


async def test_a_frozen_process_that_wakes_after_its_lease_does_nothing_more(admin: Admin) -> None:
    job, pid = await running(admin)
    os.kill(pid, signal.SIGSTOP)
    try:
        # A beat that was on the wire when the process froze would make the lease young again.
        await asyncio.sleep(1)
        await admin.sql.execute("update public.scheduled_jobs set locked_at = now() - interval '91 seconds'")
        died = await admin.wait(job, seconds=30)
        assert died["error"].startswith("lease lost: no sign of life from")
        before, sent = await admin.row(job), len(await admin.received("crawler"))
    finally:
        os.kill(pid, signal.SIGCONT)
    await until(lambda: _gone(pid), seconds=30, what="the process has ended")
    after = await admin.row(job)
    assert {name: after[name] for name in ("status", "error", "result", "progress", "fence")} == {
        name: before[name] for name in ("status", "error", "result", "progress", "fence")
    }
    assert len(await admin.received("crawler")) == sent


async def _gone(pid: int) -> bool:
    return not is_alive(pid)


async def test_a_run_over_its_maximum_time_is_failed_and_not_tried_again(admin: Admin) -> None:
    job, pid = await running(admin)
    # As if it had begun half an hour ago; its own clock knows nothing of that, so its worker has to end it, which it
    # does after 10 s more. The sweep would end the row alone, after 60.
    on_the_fork_server(admin)
    await admin.sql.execute("update public.scheduled_jobs set started_at = now() - interval '30 minutes 5 seconds'")
    ended = await admin.wait(job, seconds=60)
    assert (ended["status"], ended["error"]) == ("failed", "ran longer than 00:30:00")
    assert not is_alive(pid)
    assert (await admin.row(job))["recover_at"] is None
    await until(lambda: _agreed(admin, job), seconds=30, what="row and Prefect agree")


async def _agreed(admin: Admin, job: str) -> bool:
    return (await admin.row(job))["run_open"] is False


async def test_prefect_that_lost_everything_is_filled_again(admin: Admin) -> None:
    """The deployments, the pool and the runs are gone: the shim registers them anew, and what waits is run."""
    wiring = admin.stack.wiring
    headers = wiring.prefect_headers
    await admin.seed_bulk(3)
    await admin.stack.stop("worker")
    job = await admin.trigger()

    async def dispatched() -> Any:
        return (await admin.job(job["id"]))["flowRunId"]

    await until(dispatched, seconds=10, what="the job has a flow run")
    async with httpx.AsyncClient(base_url=f"{wiring.url('prefect')}/", headers=headers, trust_env=False) as http:
        flows = (await http.post("flows/filter", json={})).json()
        for flow in flows:
            (await http.delete(f"flows/{flow['id']}")).raise_for_status()
        (await http.delete("work_pools/stumbleable")).raise_for_status()

        async def again() -> Any:
            return (await http.get("deployments/name/crawl_pending/crawl_pending")).is_success

        await until(again, seconds=60, what="the deployments are registered again")
    await admin.stack.start("worker")
    assert (await admin.wait(job["id"]))["status"] == "completed"
