"""Forgets events and idempotency keys of more than a day ago, a little at a time; on any replica, beside any other."""

from __future__ import annotations

import asyncio
import logging

from api.background import Troubles
from flows.core import job_events

# A million a day each is 12 a second; a batch takes some 10 ms.
_BATCH = 2000
_EACH_SECONDS = 60.0
_BETWEEN_SECONDS = 0.5

logger = logging.getLogger(__name__)


class Retention:
    def __init__(self) -> None:
        self._troubles = Troubles(logger)

    async def run(self) -> None:
        """Goes on until cancelled."""
        while True:
            forgotten = 0
            async with self._troubles.noted("Forgetting old events"):
                forgotten = await job_events.forget_old(_BATCH)
            await asyncio.sleep(_BETWEEN_SECONDS if forgotten == _BATCH else _EACH_SECONDS)
