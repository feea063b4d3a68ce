"""Runs the cases: one ground after the other, on each side by side what does not need the same lanes, each in its time.

Two grounds at once are more than two cores can serve within the five seconds that are measured.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.chaos.ground import Ground
from tests.chaos.registry import Case
from tests.chaos.table import Table, say

GROUNDS = {"kills": "medium", "outages": None}
"""Name of each ground to the queue that its steady worker serves; None: all of them."""

_AGREE = "row and Prefect agree within 5 s"
_LEFT = "nothing is left open"
_SETTLE_SECONDS = 90.0


async def run_all(cases: Sequence[Case], folder: Path, seed: int) -> Table:
    """The table of everything that was tried."""
    table = Table()
    for name in GROUNDS:
        if here := [case for case in cases if case.ground == name]:
            await _run_ground(name, here, folder, seed, table)
    return table


async def _run_ground(name: str, cases: Sequence[Case], folder: Path, seed: int, table: Table) -> None:
    async with Ground(name, folder, table, seed, GROUNDS[name]) as ground:
        over = {case.name: asyncio.Event() for case in cases}
        await asyncio.gather(*(_run_case(ground, case, over) for case in cases))
        await _conclude(ground)


async def _run_case(ground: Ground, case: Case, over: dict[str, asyncio.Event]) -> None:
    try:
        for other in case.after:
            if other in over:
                await over[other].wait()
        async with AsyncExitStack() as lanes:
            for lane in case.lanes:
                await lanes.enter_async_context(ground.lane(lane))
            await _within_its_time(ground, case)
    finally:
        over[case.name].set()


async def _within_its_time(ground: Ground, case: Case) -> None:
    say(f"{case.name}: {case.summary}")
    try:
        async with asyncio.timeout(case.seconds):
            await case.run(ground)
    except TimeoutError:
        ground.table.failed(case.name, f"the case was not done within {case.seconds:g} s")
    except Exception:  # noqa: BLE001  # a case that cannot be played is a failure, and no reason to stop the others
        ground.table.failed(case.name, f"the case could not be played\n{traceback.format_exc()}")
    else:
        say(f"{case.name}: over")
        return
    if "all" in case.lanes:
        try:
            await ground.restore()
        except Exception:  # noqa: BLE001  # the next case tells
            say(f"{ground.name}: could not be put right\n{traceback.format_exc()}")


async def _conclude(ground: Ground) -> None:
    """What must hold of everything that went on: no open row, no slot of nobody's, no state that disagreed for long."""
    await ground.attempt(_LEFT, None, _nothing_left(ground))
    table, comparer = ground.table, ground.comparer
    table.scenario(_AGREE, "longest disagreement")
    for job in comparer.pairs:
        found = comparer.worst.get(job)
        if found in comparer.too_long() and found is not None:
            table.failed(
                _AGREE, f"{ground.name}: job {job} disagreed for {found.seconds:.1f} s: {found.history}", found.seconds
            )
        else:
            table.passed(_AGREE, found.seconds if found else None)
    say(f"{ground.name}: {len(comparer.pairs)} pairs compared in {comparer.samples} samples")


async def _nothing_left(ground: Ground) -> None:
    async def all_ended() -> bool:
        return not ground.rows.open

    await ground.until(all_ended, seconds=_SETTLE_SECONDS, what=f"every job has ended; open: {ground.rows.open}")
    held = await ground.query("select id::text from public.scheduled_jobs where slot_held")
    assert not held, f"slots held by nobody: {held}"
    live = await ground.value(
        "select count(*) from public.crawl_claims c where public.crawl_claim_lives(c.job_id, c.fence)"
    )
    assert live == 0, f"{live} claims of nobody's are held"
    repeated = await ground.calls.pages_repeated_after_an_answer()
    assert not repeated, f"pages sent again after an answer: {repeated}"
    twice = await ground.query(
        "select retry_of::text from public.scheduled_jobs where retry_of is not null and origin = 'recovery'"
        " group by 1 having count(*) > 1"
    )
    assert not twice, f"jobs tried again twice: {twice}"
    assert not ground.rows.lies, f"cancelled with the process alive: {ground.rows.lies}"
