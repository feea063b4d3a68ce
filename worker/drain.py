"""The end of a worker: what has not begun goes back, what runs may finish, what does not is stopped and reported."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any
from uuid import UUID

from worker.attempts import Attempts

STOPPED = "stopped: the worker was told to end"
# Of the time there is, this much is kept for SIGTERM, SIGKILL and the report.
_STOPPING_SECONDS = 5.0
_REPORTING_SECONDS = 10.0


async def drain(
    attempts: Attempts,
    in_hand: Callable[[], Collection[UUID]],
    *,
    seconds: float,
    hurry: asyncio.Event,
    logger: logging.Logger | logging.LoggerAdapter[Any],
) -> None:
    """Returns when no run is in hand. `hurry` ends the waiting: whoever asks twice means now."""
    if in_hand():
        logger.info("Ending: %s runs may go on for %g s", len(in_hand()), seconds)
    await _until_none(in_hand, max(seconds - _STOPPING_SECONDS, 0), hurry)
    if left := list(in_hand()):
        logger.warning("Stopping %s runs: %s", len(left), ", ".join(str(each) for each in left))
        grace = min(seconds, _STOPPING_SECONDS) / 2
        await asyncio.gather(
            *(attempts.stop(each, STOPPED, grace) for each in left),
            return_exceptions=True,
        )
        await _until_none(in_hand, _REPORTING_SECONDS, asyncio.Event())
    for each in in_hand():
        logger.error("Flow run '%s' could not be reported as stopped", each)


async def _until_none(in_hand: Callable[[], Collection[UUID]], seconds: float, hurry: asyncio.Event) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    # Runs end by themselves, each in its own way; there is no event that all of them set.
    while in_hand() and not hurry.is_set() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
