"""Cancels at random moments, of bodies that do as they are told and of those that do not."""

from __future__ import annotations

import asyncio
import time

import httpx

from tests.chaos.checks import SILENT, silent
from tests.chaos.ground import Ground
from tests.chaos.registry import case

COUNT = 80
STOPPED_SECONDS = 45.0
_AT_ONCE = 16
_BEHAVIOURS = ("steps", "deaf", "c_sleep", "crawl", "stubborn", "c_hold", "sleep", "steps")
_LONGEST_WAIT_SECONDS = 7.0


@case("cancels", ground="kills", seconds=600, lanes=("steady",))
async def cancels(ground: Ground) -> None:
    """Cancel at random moments of a job's life, from before it is dispatched to the middle of its work."""
    name = "cancelled: stopped, and not before its process"
    ground.table.scenario(name, "from the answer to the row")
    chance = ground.chance("cancels")
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(behaviour: str, moment: float) -> None:
        async with places:
            job = await ground.trigger(behaviour, steps=60 if behaviour == "steps" else 2)
            await asyncio.sleep(moment)
            await cancel_and_count(ground, name, job)

    moments = [chance.uniform(0, _LONGEST_WAIT_SECONDS) for _ in range(COUNT)]
    await asyncio.gather(*(one(_BEHAVIOURS[i % len(_BEHAVIOURS)], moment) for i, moment in enumerate(moments)))


async def cancel_and_count(ground: Ground, name: str, job: str, *, prefect_is_up: bool = True) -> None:
    """Cancels a job and counts what became of it. The case waits for Prefect's part where Prefect is down."""
    asked_at = time.monotonic()
    await ground.attempt(name, job, _cancelled(ground, job, asked_at, prefect_is_up=prefect_is_up))
    if job in ground.rows.ends:
        await asyncio.sleep(1)
        await ground.attempt(SILENT, job, silent(ground, job))


async def _cancelled(ground: Ground, job: str, asked_at: float, *, prefect_is_up: bool) -> float | None:
    answer = await ground.cancel(job)
    if answer.status_code == httpx.codes.CONFLICT:
        assert ground.rows.now[job]["status"] == "completed", f"refused for a job that has not ended: {answer.text}"
        return None
    assert answer.status_code in (200, 202), f"the cancel was answered {answer.status_code} {answer.text}"
    end = await ground.rows.ended(job, seconds=2 * STOPPED_SECONDS)
    took = end.at - asked_at
    if end.row["status"] == "completed":
        return None  # it had done its work before it heard
    assert end.row["status"] == "cancelled", f"it is {end.row['status']}: {end.row['error']}"
    assert job not in ground.rows.lies, f"it was seen cancelled while {ground.rows.lies[job]}"
    assert took <= STOPPED_SECONDS, f"cancelled {took:.1f} s after it was asked for"
    _receipt(end.row)
    if prefect_is_up:
        await ground.agreed(end)
    assert job not in ground.rows.retries, "it was tried again"
    return took


def _receipt(row: dict[str, object]) -> None:
    """Who asked and when, when it stopped, what was done, and whether it may be tried again."""
    for name in ("by", "at"):
        assert row[f"cancel_requested_{name}"] is not None, f"no cancel_requested_{name}"
    for name in ("stopped_at", "items_done", "safe_to_retry"):
        assert row[f"cancel_{name}"] is not None, f"no cancel_{name}"
