"""Every neighbour away for a while, during fifty triggered jobs each: all end rightly, soon after it is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.cases.cancels import cancel_and_count
from tests.chaos.checks import silent
from tests.chaos.ground import Ground
from tests.chaos.registry import case
from tests.chaos.table import say

COUNT = 50
BEFORE = 20
REPAIRED_SECONDS = 60.0
# Three outages are long: what waits for their end, a trigger or an end that is not written, waits longer.
_PATIENCE_SECONDS = 400.0
# All of the first half have begun when the outage does.
_BEGUN_SECONDS = 90.0
_STEPS: dict[str, Any] = {"steps": 10, "step_seconds": 0.6, "hold_seconds": 0.2}
_CANCELS_WITH_PREFECT_DOWN = 20

Outage = Callable[[Ground], Awaitable[None]]


@dataclass
class Fifty:
    """The jobs of one outage, and when it was repaired."""

    jobs: list[str] = field(default_factory=list)
    repaired_at: float = 0.0


@asynccontextmanager
async def away(ground: Ground, part: str, *, kill: bool = False) -> AsyncIterator[None]:
    """A part that is stopped or killed, and started again at the end, whatever happens."""
    ground.quiet.add(part)
    await (ground.stack.kill(part) if kill else ground.stack.stop(part))
    say(f"{ground.name}: {part} is {'killed' if kill else 'stopped'}")
    try:
        yield
    finally:
        seconds = await ground.stack.start(part)
        ground.quiet.discard(part)
        say(f"{ground.name}: {part} is back after {seconds:.1f} s of starting")


async def during_fifty(ground: Ground, name: str, outage: Outage) -> None:
    """Twenty jobs that run and thirty triggers under way while `outage` lasts; it returns once it is repaired."""
    ground.table.scenario(name, "from the repair to the last end")
    fifty = Fifty()
    fifty.jobs = [await ground.trigger("steps", **_STEPS) for _ in range(BEFORE)]
    await asyncio.gather(
        *(ground.rows.until(job, "running", "completed", seconds=_BEGUN_SECONDS) for job in fifty.jobs)
    )
    later = asyncio.create_task(_trigger_on(ground, COUNT - BEFORE))
    await asyncio.sleep(1)
    await outage(ground)
    fifty.repaired_at = time.monotonic()
    fifty.jobs += await later
    await asyncio.gather(*(ground.attempt(name, job, _ends_rightly(ground, job, fifty)) for job in fifty.jobs))
    waited = await ground.value("select count(*) from public.scheduled_jobs where status in ('pending', 'running')")
    say(f"{name}: {len(fifty.jobs)} jobs, {waited} still open")


async def _trigger_on(ground: Ground, count: int) -> list[str]:
    """Triggers one after the other, as people would: those that are refused during the outage are tried again."""

    async def one(number: int) -> str:
        await asyncio.sleep(number * 0.5)
        return await ground.trigger("steps", patience=_PATIENCE_SECONDS, **_STEPS)

    return list(await asyncio.gather(*(one(number) for number in range(count))))


async def _ends_rightly(ground: Ground, job: str, fifty: Fifty) -> float:
    """Done once, by itself or tried again after a death, no later than a minute after the repair."""
    last = fifty.repaired_at + REPAIRED_SECONDS
    end = await ground.rows.ended(job, seconds=last + REPAIRED_SECONDS - time.monotonic())
    if end.row["died"]:
        again = await ground.rows.retry_of(job, seconds=REPAIRED_SECONDS)
        end = await ground.rows.ended(again, seconds=2 * REPAIRED_SECONDS)
    assert end.row["status"] == "completed", f"it is {end.row['status']}: {end.row['error']}"
    await ground.agreed(end)
    took = max(0.0, end.at - fifty.repaired_at)
    for one in ground.rows.line(job):
        await silent(ground, one)
    await _once(ground, job)
    assert end.at <= last, f"it ended {took:.1f} s after the repair, not within {REPAIRED_SECONDS:g} s"
    return took


async def _once(ground: Ground, job: str) -> None:
    """Every step was received once, but for what was in doubt when a process died."""
    sent = {call["step"] for call in await ground.calls.all() if call["kind"] == "step" and call["root"] == job}
    missing = set(range(1, _STEPS["steps"] + 1)) - sent
    deaths = len(ground.rows.line(job)) - 1
    assert len(missing) <= deaths, f"steps that were never received: {sorted(missing)}"
    runs = await ground.prefect_rows(
        "select id from flow_run where idempotency_key = $1 or idempotency_key like $1 || '/%'", job
    )
    (row,) = await ground.query("select coalesce(dispatches, 0) as again from public.scheduled_jobs where id = $1", job)
    assert len(runs) <= 1 + row["again"], f"{len(runs)} flow runs for one job"


@case("postgres-restarted", ground="outages", seconds=300, lanes=("all",))
async def postgres_restarted(ground: Ground) -> None:
    """Postgres restarted."""

    async def outage(ground: Ground) -> None:
        async with away(ground, "postgres"):
            pass

    await during_fifty(ground, "Postgres restarted", outage)


@case("postgres-stopped", ground="outages", seconds=560, lanes=("all",))
async def postgres_stopped(ground: Ground) -> None:
    """Postgres stopped for 3 minutes; Prefect's own database is there too."""

    async def outage(ground: Ground) -> None:
        async with away(ground, "postgres"):
            await asyncio.sleep(180)

    await during_fifty(ground, "Postgres stopped for 3 min", outage)


@case("postgrest-killed", ground="outages", seconds=300, lanes=("all",))
async def postgrest_killed(ground: Ground) -> None:
    """PostgREST killed, and started again after a quarter of a minute."""

    async def outage(ground: Ground) -> None:
        async with away(ground, "postgrest", kill=True):
            await asyncio.sleep(15)

    await during_fifty(ground, "PostgREST killed", outage)


@case("prefect-killed", ground="outages", seconds=480, lanes=("all",))
async def prefect_killed(ground: Ground) -> None:
    """Prefect's server killed for 60 s; jobs are cancelled meanwhile."""
    name = "cancelled while Prefect is down"
    ground.table.scenario(name, "from the answer to the row")
    chance = ground.chance("prefect-killed")

    async def outage(ground: Ground) -> None:
        hung = ("deaf", "c_sleep", "stubborn", "c_hold", "sleep")
        wanted = [(hung[number % len(hung)], {"steps": 2}) for number in range(_CANCELS_WITH_PREFECT_DOWN)]
        jobs = await ground.launch(wanted)
        await asyncio.gather(*(ground.rows.until(job, "running", seconds=90) for job in jobs))

        async def cancel(job: str, moment: float) -> None:
            await asyncio.sleep(moment)
            await cancel_and_count(ground, name, job, prefect_is_up=False)

        async with away(ground, "prefect", kill=True):
            began = time.monotonic()
            await asyncio.gather(*(cancel(job, chance.uniform(0, 25)) for job in jobs))
            await asyncio.sleep(max(0.0, began + 60 - time.monotonic()))

    await during_fifty(ground, "Prefect server killed for 60 s", outage)


@case("shim-killed", ground="outages", seconds=300, lanes=("all",))
async def shim_killed(ground: Ground) -> None:
    """The shim killed and started again."""

    async def outage(ground: Ground) -> None:
        async with away(ground, "shim", kill=True):
            await asyncio.sleep(2)

    await during_fifty(ground, "shim killed", outage)
