"""What the pictures show: a month of jobs, and a few of today that have really run, with their logs."""

from __future__ import annotations

import httpx

from sandbox.stack import Stack
from tests.browser.seeding import seed_history
from tests.e2e.harness import Admin, connect, until

_JOBS = 2_400


async def give_a_past(stack: Stack) -> dict[str, str]:
    """Ids of a job that runs for a while, of one that has just completed, and of one that has failed."""
    await seed_history(stack, _JOBS)
    connection = await connect(stack)
    headers = {"Authorization": f"Bearer {stack.token()}"}
    async with httpx.AsyncClient(base_url=stack.wiring.url("shim"), headers=headers, trust_env=False) as http:
        admin = Admin(stack, http, connection)
        try:
            return await _of_today(admin)
        finally:
            await connection.close()


async def _of_today(admin: Admin) -> dict[str, str]:
    await admin.seed_pages()
    completed = await admin.wait((await admin.trigger())["id"])
    await admin.seed_bulk(30)
    await admin.fault("crawler", "500")
    failed = await admin.wait((await admin.trigger())["id"], seconds=180)
    await admin.fault("crawler", None)
    edit = {"cron": "30 8 * * MON", "timezone": "Europe/Berlin", "enabled": True}
    (await admin.http.patch("/api/job-types/weekly_digest/schedule", json=edit)).raise_for_status()
    await admin.seed_bulk(400)
    await admin.fault("crawler", "slow", seconds=22)
    running = await admin.wait((await admin.trigger())["id"], "running")
    await admin.trigger(priority="LOW")

    async def has_begun() -> bool:
        progress = (await admin.job(running["id"]))["progress"]
        return bool(progress and progress["itemsProcessed"])

    await until(has_begun, seconds=60, what="a batch is done")
    # While it runs its picture is taken: it comes first.
    return {"running": running["id"], "completed": completed["id"], "failed": failed["id"]}
