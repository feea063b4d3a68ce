"""Recounts views, likes, saves, shares and skips from the interactions, for content_metrics and the discoveries.

Lifetime counts: the rows present and what a purge has removed. Two passes, because nothing finds interactions by
discovery: the migration create_metrics_functions says how, and why a purge in between changes no count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from flows.clients import database
from flows.core.errors import Conflict
from flows.core.lease import under_lease
from flows.core.maintenance import Pace, Tally, Walk, log

POLL_SECONDS = 1.0
TRIES = 3  # a crash of the database empties the working table, and the counting begins anew

Look = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Recount:
    """What a counting came to: discoveries whose numbers were wrong, and whether all were looked at."""

    changed: int
    full: bool


async def recount(tally: Tally, *, full: bool, dry_run: bool = False, look: Look | None = None) -> Recount:
    """Counts what has changed since the last counting (`full`: everything) and writes what differs.

    Waits while another job counts. `look` is called before the counts are forgotten: a dry run has not written them.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            return await _recount(tally, full=full, dry_run=dry_run, look=look)
        except Conflict as error:
            if not tries_left:
                raise
            log().warning("%s", error)
    raise AssertionError("unreachable")


async def _recount(tally: Tally, *, full: bool, dry_run: bool, look: Look | None) -> Recount:
    counting = await _open(tally, full=full, dry_run=dry_run)
    aside = Tally(tally.max_batch)  # what is only read is not what a run has done
    if not counting["full"]:
        since = {"since": counting["since"]}
        await Walk("mark_changed", Pace(20_000, 1000, 500_000), since).to_the_end(
            Tally(), "looking for what has changed"
        )
    if counting["count"]:
        await Walk("count_interactions", Pace(20_000, 1000, 1_000_000)).to_the_end(aside, "counting interactions")
    walk = Walk("apply_metrics", Pace(2000, 100, 100_000), {"dry_run": dry_run})
    changed = await walk.to_the_end(tally, "metrics updated")
    if look is not None:
        await look()
    await database.patient_rpc("close_metrics", **under_lease(), dry_run=dry_run)
    return Recount(changed, counting["full"])


async def _open(tally: Tally, *, full: bool, dry_run: bool) -> dict[str, Any]:
    while True:
        answer: dict[str, Any] = await database.patient_rpc(
            "open_metrics", **under_lease(), full=full or None, dry_run=dry_run
        )
        if not answer["wait"]:
            return answer
        tally.show("waiting for another job's counting")
        await asyncio.sleep(POLL_SECONDS)
