"""Prefect's events of flow runs, for as long as the process lives: which runs have just changed.

Prefect's subscriber gives up after a while and forgets what it missed; this one is made anew again and again, and each
time asks for what has happened since the last event it saw.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.events.clients import PrefectEventSubscriber
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter

_PREFIX = "prefect.flow-run."
# At the start, and as an overlap after a gap: an event read twice only costs a look.
_BACK = timedelta(minutes=10)
_OVERLAP = timedelta(minutes=1)
# States that a run passes through on its way to its first line; whoever does not ask now does not slow it down.
_BEGINNING = frozenset(f"{_PREFIX}{state}" for state in ("Scheduled", "Late", "Pending", "Running"))
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 5.0

logger = logging.getLogger(__name__)


class RunEvents:
    """Calls `changed` with the id of each flow run that an event tells of, and whether the run is only beginning."""

    def __init__(self, api_url: str, changed: Callable[[UUID, bool], None]) -> None:
        self._api_url = api_url
        self._changed = changed
        self._seen_until = datetime.now(UTC) - _BACK
        self.is_listening = False

    async def run(self) -> None:
        """Listens until cancelled."""
        pause = _SHORTEST_PAUSE_SECONDS
        while True:
            try:
                await self._listen()
                pause = _SHORTEST_PAUSE_SECONDS
            except Exception as error:  # noqa: BLE001  # whatever it is, the periodic look stands in meanwhile
                if self.is_listening or pause == _SHORTEST_PAUSE_SECONDS:
                    logger.info("Prefect's events are not heard: %s", type(error).__name__)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            finally:
                self.is_listening = False
            await asyncio.sleep(pause)

    async def _listen(self) -> None:
        wanted = EventFilter(
            event=EventNameFilter(prefix=[_PREFIX]), occurred=EventOccurredFilter(since=self._seen_until)
        )
        subscriber = PrefectEventSubscriber(self._api_url, wanted, reconnection_attempts=0)
        # Its own choice would be the last minute.
        subscriber._backfill_since = self._seen_until - _OVERLAP  # type: ignore[assignment]  # noqa: SLF001
        # A redirect would take the auth string, the first thing that is said, to another host.
        subscriber._connect.process_redirect = lambda error: error  # type: ignore[method-assign,assignment]  # noqa: SLF001
        async with subscriber:
            self.is_listening = True
            logger.info("Prefect's events are heard")
            async for event in subscriber:
                self._seen_until = max(self._seen_until, event.occurred)
                flow_run_id = _flow_run_of(event.resource.id)
                if flow_run_id is not None:
                    self._changed(flow_run_id, event.event in _BEGINNING)


def _flow_run_of(resource: str) -> UUID | None:
    try:
        return UUID(resource.removeprefix(_PREFIX))
    except ValueError:
        return None
