"""Worker and flow process SIGKILLed at random moments: no row is lost, and the dead job is done by another.

`make test` kills three times and moves the lease's age in the database instead of waiting for it; `make chaos` waits.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from sandbox.stack import Stack
from tests.e2e.harness import Admin, connect, until

KILLS = 3
SEED = int(os.environ.get("SEED", "0")) or random.randrange(1, 10**6)
# A lease of 90 s, a sweep every 2 s, and what 2 slow cores add.
LEASE_AND_SWEEP_SECONDS = 110
PAGES = 150


@pytest.fixture
async def admin(clean_stack: Stack) -> AsyncIterator[Admin]:
    connection = await connect(clean_stack)
    headers = {"Authorization": f"Bearer {clean_stack.token(expires_seconds=7200)}"}
    try:
        async with httpx.AsyncClient(base_url=clean_stack.wiring.url("shim"), headers=headers, trust_env=False) as http:
            yield Admin(clean_stack, http, connection)
    finally:
        await connection.close()


def moments() -> list[float]:
    """Seconds after the trigger: from before a process is there to the middle of the second batch."""
    chance = random.Random(SEED)
    return [round(chance.uniform(0.2, 8.0), 2) for _ in range(KILLS)]


async def pass_a_lease(admin: Admin, job_id: str) -> None:
    """Lets the lease die, by making everything the sweep looks at that much older."""
    await admin.sql.execute(
        "update public.scheduled_jobs set locked_at = locked_at - interval '95 seconds' where id = $1", job_id
    )


async def recovery_of(admin: Admin, job_id: str) -> Any:
    return await admin.sql.fetchval("select id::text from public.scheduled_jobs where retry_of = $1", job_id)


@pytest.mark.parametrize("moment", [pytest.param(one, id=f"kill {n}") for n, one in enumerate(moments(), start=1)])
async def test_a_killed_worker_and_flow_lose_nothing(admin: Admin, moment: float) -> None:
    print(f"SIGKILL {moment} s after the trigger (SEED={SEED})")
    await admin.seed_bulk(PAGES)
    await admin.fault("crawler", "slow", seconds=4)
    first = (await admin.trigger())["id"]
    await asyncio.sleep(moment)
    await admin.stack.kill("worker")
    await admin.stack.start("worker")
    before = await admin.row(first)
    if before["status"] == "running":
        await pass_a_lease(admin, first)
    died = await admin.wait(first, seconds=LEASE_AND_SWEEP_SECONDS + 30)
    if before["fence"] is None and died["status"] == "completed":
        # Killed before a worker had it: the job was never in danger, and the new worker has run it.
        assert died["result"]["itemsProcessed"] == PAGES
    else:
        assert died["status"] == "failed", died
        assert died["error"].startswith(("lease lost: no sign of life from", "never started:", "its flow run ")), died
        await admin.fault("crawler", None)
        await admin.sql.execute("update public.scheduled_jobs set recover_at = now() where id = $1", first)
        second = await admin.wait(await until(lambda: recovery_of(admin, first), seconds=10, what="it is tried again"))
        assert (second["status"], second["origin"]) == ("completed", "recovery"), second
    assert await admin.crawl_statuses() == {"completed": PAGES}
    assert await admin.sql.fetchval("select count(*) from public.crawl_claims") == 0

    async def prefect_follows() -> Any:
        return all(
            run["state"]["type"] in {"COMPLETED", "CRASHED", "FAILED", "CANCELLED"}
            for run in await admin.runs_of(first)
        )

    await until(prefect_follows, seconds=10, what="Prefect's run of the dead job has ended too")
