"""A worker that is told to end: its runs say so in their rows, in seconds and not a lease later."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.harness import Admin, until


async def test_a_worker_told_to_end_ends_the_rows_of_three_runs(admin: Admin) -> None:
    if admin.stack.wiring.worker_type == "process":
        pytest.skip("Prefect's process worker kills its runs without a word; the lease tells 90 s later")
    await admin.seed_bulk(250)
    await admin.fault("crawler", "slow", seconds=30)
    accepted = await admin.sql.fetch(
        "select accept_job(jsonb_build_object('job_type', 'crawl_pending', 'origin', 'dashboard'),"
        ' \'{"actor": "harness", "action": "trigger"}\') -> \'job\' ->> \'id\' as id from generate_series(1, 3)'
    )
    jobs = [row["id"] for row in accepted]
    await asyncio.gather(*(admin.wait(job, "running") for job in jobs))
    await asyncio.sleep(1)
    await admin.stack.stop("worker")
    ended = await asyncio.gather(*(admin.wait(job, seconds=10) for job in jobs))
    assert {(job["status"], job["error"]) for job in ended} == {("failed", "stopped: its process was told to end")}

    async def prefect_knows() -> Any:
        runs = [run for job in jobs for run in await admin.runs_of(job)]
        return len(runs) == len(jobs) and all(run["state"]["type"] in ("CRASHED", "FAILED") for run in runs)

    await until(prefect_knows, seconds=10, what="no run stays Running in Prefect")
    await admin.fault("crawler", None)
    await admin.stack.start("worker")
    assert (await admin.wait((await admin.trigger())["id"]))["status"] == "completed"
    assert await admin.crawl_statuses() == {"completed": 250}
