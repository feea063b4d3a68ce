"""Prefect's database wiped: nothing but its server is started again, and the shim registers the deployments anew.

What it registers is the real job type, so the fifty jobs here are real crawls, accepted with a gate of their own.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg

from sandbox.steps import build_steps
from tests.chaos.cases.outages import COUNT, REPAIRED_SECONDS, away
from tests.chaos.checks import silent
from tests.chaos.ground import TYPE, Ground
from tests.chaos.registry import case
from tests.chaos.table import say

NAME = "Prefect's database wiped"
_BEFORE = 20
_PAGES_EACH = 4
_ACCEPT = "select public.accept_job($1, $2) -> 'job' ->> 'id'"
_AUDIT = {"actor": "chaos", "action": "trigger"}
_REAL = f"flows.{TYPE}.{TYPE}"


@case("prefect-wiped", ground="outages", seconds=480, lanes=("all",))
async def prefect_wiped(ground: Ground) -> None:
    """Prefect's server stopped, its database dropped and made anew, its server started: nothing else by hand."""
    ground.table.scenario(NAME, "from the repair to the last end")
    await _deploy_the_real_type(ground)
    jobs = [await _accept(ground) for _ in range(_BEFORE)]
    await asyncio.gather(*(ground.rows.until(job, "running", "completed", seconds=90) for job in jobs))
    later = asyncio.create_task(_accept_on(ground, COUNT - _BEFORE))
    async with away(ground, "prefect"):
        await _wipe(ground)
    repaired_at = time.monotonic()
    jobs += await later
    await asyncio.gather(*(ground.attempt(NAME, job, _ends_rightly(ground, job, repaired_at)) for job in jobs))
    repeated = await ground.calls.pages_repeated_after_an_answer()
    assert not repeated, f"pages sent again after an answer: {repeated}"
    await ground.deploy()


async def _deploy_the_real_type(ground: Ground) -> None:
    wiring = ground.stack.wiring
    await build_steps(wiring, wanted=frozenset(("worker",)), started=frozenset())["deployments"].run()

    async def known() -> Any:
        return await ground.value(
            "select parameter_schema -> 'properties' ? 'mode' from public.job_types where job_type = $1", TYPE
        )

    await ground.until(known, seconds=30, what="the shim knows the real job type")


async def _accept(ground: Ground) -> str:
    await ground.pace()
    parameters = {"mode": "pending", "max_items": _PAGES_EACH}
    job = {
        "job_type": TYPE,
        "origin": "dashboard",
        "parameters": parameters,
        "exclusive_key": ground.new_key(),
    }
    return str(await ground.value(_ACCEPT, job, _AUDIT))


async def _accept_on(ground: Ground, count: int) -> list[str]:
    found = []
    for _ in range(count):
        found.append(await _accept(ground))
        await asyncio.sleep(0.3)
    return found


async def _wipe(ground: Ground) -> None:
    connection = await asyncpg.connect(f"{ground.stack.wiring.owner_url}/postgres")
    try:
        await connection.execute("drop database prefect with (force)")
        await connection.execute("create database prefect owner postgres")
    finally:
        await connection.close()
    say(f"{ground.name}: Prefect's database is wiped")


async def _ends_rightly(ground: Ground, job: str, repaired_at: float) -> float:
    last = repaired_at + REPAIRED_SECONDS
    end = await ground.rows.ended(job, seconds=last + REPAIRED_SECONDS - time.monotonic())
    if end.row["died"]:
        again = await ground.rows.retry_of(job, seconds=REPAIRED_SECONDS)
        end = await ground.rows.ended(again, seconds=2 * REPAIRED_SECONDS)
    assert end.row["status"] == "completed", f"it is {end.row['status']}: {end.row['error']}"
    await ground.agreed(end)
    for one in ground.rows.line(job):
        await silent(ground, one)
    took = max(0.0, end.at - repaired_at)
    assert end.at <= last, f"it ended {took:.1f} s after the repair, not within {REPAIRED_SECONDS:g} s"
    return took
