"""Processes that are frozen for longer than their lease, and wake; and those that run longer than they may."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.chaos.cases.deaths import ROUNDS, all_running
from tests.chaos.checks import LEASE_SECONDS, RECOVERED, SILENT, died, recovered, silent
from tests.chaos.ground import Ground
from tests.chaos.processes import Seen
from tests.chaos.registry import case
from tests.chaos.table import say
from tests.chaos.workers import Worker

MAX_RUN_SECONDS = 15
STOPPED_SECONDS = 45.0
# Only what a process does by itself counts when it wakes: one that sleeps for ever would do nothing anyway.
_WORKING: tuple[tuple[str, dict[str, Any]], ...] = (("steps", {"steps": 40, "hold_seconds": 0.3}), ("crawl", {}))
_WATCHED_SECONDS = 15.0
_OVERTIME = ("steps", "sleep", "stubborn", "c_sleep", "c_hold", "deaf", "crawl")


@case("frozen", ground="kills", seconds=700)
async def frozen(ground: Ground) -> None:
    """Worker and runs SIGSTOPped for longer than a lease, then resumed: failed in time, and nothing more is done."""
    name = "worker and flow frozen and resumed"
    ground.table.scenario(name, "from the stop to the row")
    chance = ground.chance("frozen")
    followed = []
    for count in ROUNDS:
        async with ground.lane("high"):
            worker = await ground.workers.start("high")
            jobs = await ground.launch([_WORKING[number % 3 // 2] for number in range(count)], priority="HIGH")
            await all_running(ground, jobs)
            await asyncio.sleep(chance.uniform(0, 4))
            processes = [ground.rows.processes[job] for job in jobs]
            stopped = worker.freeze()
            stopped_at = time.monotonic()
        say(f"{name}: {count} jobs, {len(stopped)} processes")
        followed.append(_follow(ground, name, jobs, stopped_at))
        followed.append(_resume(ground, worker, stopped, processes, stopped_at + chance.uniform(96, 115)))
    await asyncio.gather(*followed)


async def _follow(ground: Ground, name: str, jobs: list[str], stopped_at: float) -> None:
    async def one(job: str) -> None:
        run = died(ground, job, since=stopped_at, within=LEASE_SECONDS, reasons=("lease lost: no sign of",))
        if await ground.attempt(name, job, run):
            await ground.attempt(RECOVERED, job, recovered(ground, job))
        # Long after it woke, by the case's timing.
        if job in ground.rows.ends:
            await asyncio.sleep(max(0.0, stopped_at + 115 + _WATCHED_SECONDS - time.monotonic()))
            await ground.attempt(SILENT, job, silent(ground, job))

    await asyncio.gather(*(one(job) for job in jobs))


async def _resume(ground: Ground, worker: Worker, stopped: set[int], processes: list[Seen], at: float) -> None:
    """Wakes them, and waits until the fenced processes have ended. The lane keeps others' jobs from this worker."""
    await asyncio.sleep(at - time.monotonic())
    async with ground.lane("high"):
        worker.resume(stopped)
        woken_at = time.monotonic()

        async def gone() -> bool:
            return not any(process.is_alive for process in processes)

        async def end_by_themselves() -> float:
            await ground.until(gone, seconds=STOPPED_SECONDS, what="the fenced processes have ended after they woke")
            return time.monotonic() - woken_at

        await ground.attempt("frozen runs end when they wake", None, end_by_themselves())
        await worker.stop()


@case("overtime", ground="kills", seconds=420)
async def overtime(ground: Ground) -> None:
    """Over its maximum run time: failed, its process gone within 45 s, not tried again."""
    name = "over its maximum run time"
    ground.table.scenario(name, "from the limit to the row")
    async with ground.lane("high"):
        worker = await ground.workers.start("high", MAX_RUN_SECONDS=str(MAX_RUN_SECONDS))
        wanted = [(behaviour, {"steps": 100 if behaviour == "steps" else 2}) for behaviour in _OVERTIME * 2]
        jobs = await ground.launch(wanted, priority="HIGH")
        await asyncio.gather(*(ground.attempt(name, job, _ends(ground, job)) for job in jobs))
        await worker.stop()
    for job in jobs:
        if job in ground.rows.ends:
            await ground.attempt(SILENT, job, silent(ground, job))


async def _ends(ground: Ground, job: str) -> float:
    await ground.rows.until(job, "running", seconds=90)
    limit_at = ground.rows.began[job] + MAX_RUN_SECONDS
    process = ground.rows.processes[job]
    end = await ground.rows.ended(job, seconds=MAX_RUN_SECONDS + 2 * STOPPED_SECONDS)
    took = end.at - limit_at
    assert end.row["status"] == "failed", f"it is {end.row['status']}"
    assert end.row["error"] == f"ran longer than 00:00:{MAX_RUN_SECONDS}", end.row["error"]
    assert (end.row["died"], end.row["recover_at"]) == (None, None), "it counts as dead"
    left = max(0.0, limit_at + STOPPED_SECONDS - time.monotonic())

    async def gone() -> bool:
        return not process.is_alive and not process.group

    await ground.until(gone, seconds=left, what=f"its process has ended {STOPPED_SECONDS:g} s after its time was over")
    assert took <= STOPPED_SECONDS, f"failed {took:.1f} s after its time was over"
    await ground.agreed(end)
    await asyncio.sleep(40)
    assert job not in ground.rows.retries, "it was tried again"
    return took
