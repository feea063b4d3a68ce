"""A schedule of a few seconds, and outages that hold its fires back: one run after it, or none where it is disabled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.chaos.cases.outages import away
from tests.chaos.ground import TYPE, Ground
from tests.chaos.registry import case
from tests.chaos.rows import Row
from tests.chaos.table import say
from tests.e2e.harness import ENDED

EVERY_SECONDS = 6
MISSED = 5
ROUNDS = 2
_FIRES = """
select id::text, status, error, created_at as due_at, started_at from public.scheduled_jobs
  where origin = 'schedule' and created_at > $1 order by created_at
"""


@asynccontextmanager
async def every_few_seconds(ground: Ground) -> AsyncIterator[datetime]:
    """The type on a schedule, from a first fire on that has been seen; the time before it."""
    before = datetime.now(UTC)
    async with ground.prefect() as client:
        deployment = (await client.read_deployment_by_name(f"{TYPE}/{TYPE}")).id
        schedule = {"interval": EVERY_SECONDS, "anchor_date": "2026-01-01T00:00:00Z", "timezone": "UTC"}
        made = await client._client.post(
            f"/deployments/{deployment}/schedules", json=[{"active": True, "schedule": schedule}]
        )
        # Prefect's scheduler looks once a minute, and every five seconds at deployments that have just changed.
        await client._client.patch(f"/deployments/{deployment}", json={"paused": False})
    try:

        async def fired() -> Any:
            return any(fire["status"] == "completed" for fire in await fires(ground, before))

        await ground.until(fired, seconds=90, what="the schedule's first fire was run", every=0.5)
        yield before
    finally:
        async with ground.prefect() as client:
            await client._client.delete(f"/deployments/{deployment}/schedules/{made.json()[0]['id']}")

        async def over() -> Any:
            return not await ground.value(
                "select count(*) from public.scheduled_jobs where origin = 'schedule' and status <> all ($1)", ENDED
            )

        await ground.until(over, seconds=60, what="every fire has ended", every=0.5)


async def fires(ground: Ground, after: datetime) -> list[Row]:
    return await ground.query(_FIRES, after)


async def _both_away(ground: Ground, seconds: float) -> tuple[datetime, datetime]:
    """Worker and Prefect's server gone for that long, then both back; from when to when."""
    worker = ground.steady
    assert worker is not None
    await worker.stop()
    down_at = datetime.now(UTC)
    async with away(ground, "prefect"):
        await asyncio.sleep(seconds)
    ground.steady = await ground.workers.start(None, wakes=True)
    return down_at, datetime.now(UTC)


@case("schedule-missed", ground="outages", seconds=420, lanes=("all",))
async def schedule_missed(ground: Ground) -> None:
    """Worker and server down over five fires of one schedule: one run after it, not five."""
    for _ in range(ROUNDS):
        async with every_few_seconds(ground):
            down_at, up_at = await _both_away(ground, MISSED * EVERY_SECONDS)
            # The fire that goes on after the outage shows that the missed ones have all been decided.
            await asyncio.sleep(4 * EVERY_SECONDS)
        await ground.attempt("schedule: one run after five missed fires", None, _one_ran(ground, down_at, up_at))


async def _one_ran(ground: Ground, down_at: datetime, up_at: datetime) -> None:
    found = await fires(ground, down_at)
    missed = [fire for fire in found if fire["due_at"] <= up_at]
    started = [f"{fire['due_at']:%H:%M:%S}" for fire in found if fire["started_at"]]
    say(f"schedule: {len(missed)} fires were missed; of all since then ran {started}")
    assert len(missed) >= MISSED, f"only {len(missed)} fires were due in the outage"
    ran = [fire for fire in missed if fire["started_at"] is not None]
    assert len(ran) <= 1, f"{len(ran)} of {len(missed)} missed fires ran"
    for fire in missed:
        if fire not in ran:
            assert fire["status"] == "cancelled", fire
            assert fire["error"].startswith(("superseded: ", "skipped: ")), fire["error"]
    # The one run is the last of those missed, or of those that came while the others were being decided.
    after = [fire for fire in found if fire["started_at"] is not None]
    assert after, "nothing ran after the outage"
    assert after[0]["due_at"] >= missed[-1]["due_at"], f"an earlier one of the missed fires ran: {after[0]}"
    assert after[0]["due_at"] <= up_at + timedelta(seconds=3 * EVERY_SECONDS), "the first run after it came late"


@case("schedule-disabled", ground="outages", seconds=420, lanes=("all",))
async def schedule_disabled(ground: Ground) -> None:
    """A schedule that is disabled while Prefect is down: the fires that are due then have no effect."""
    for _ in range(ROUNDS):
        async with every_few_seconds(ground):
            worker = ground.steady
            assert worker is not None
            await worker.stop()
            down_at = datetime.now(UTC)
            async with away(ground, "prefect"):
                await ground.execute(
                    f"insert into public.schedule_overrides (job_type, enabled) values ('{TYPE}', false)"
                )
                await asyncio.sleep(3 * EVERY_SECONDS)
            ground.steady = await ground.workers.start(None, wakes=True)
            try:
                await ground.attempt("schedule: disabled while Prefect is down", None, _no_effect(ground, down_at))
            finally:
                await ground.execute("delete from public.schedule_overrides")


async def _no_effect(ground: Ground, down_at: datetime) -> None:
    async def closed() -> Any:
        found = await fires(ground, down_at)
        return len(found) >= 3 and all(fire["status"] == "cancelled" for fire in found[:3])

    await ground.until(closed, seconds=60, what="three fires are closed", every=0.5)
    await asyncio.sleep(EVERY_SECONDS)
    found = await fires(ground, down_at)
    started = [fire for fire in found if fire["started_at"] is not None]
    assert not started, f"it ran: {started}"
    wrong = [
        fire["error"]
        for fire in found
        if fire["status"] == "cancelled" and not fire["error"].startswith(("disabled: ", "superseded: "))
    ]
    assert not wrong, wrong
    ids = {fire["id"] for fire in found}
    assert not [call for call in await ground.calls.all() if call["job"] in ids], "it called somebody"
