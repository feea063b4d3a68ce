"""The stream of all changes of jobs, as events: what `GET /api/jobs/stream` tells.

Ids are those of `job_events`, the same on every replica, and no id is told before a lower one that is still to come
(`read_job_events` sees to that): so a client resumes anywhere without a gap or a repeat.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Collection
from uuid import UUID

from api.feeds import Entry, Feed, ForgottenError, Reading, Sign, Step
from api.schemas import utc
from api.sse import event
from flows.core import job_events
from flows.core.domain import JobType
from flows.core.job_events import EventPage, JobEvent

INTERVAL_SECONDS, BUSY_SECONDS = 0.3, 0.75
# The reader's own pages, and those that each listener who has fallen behind holds while it is sent them.
_PAGE, _SMALL_PAGE = 500, 100
_LONG_HELD_SECONDS = 30.0

logger = logging.getLogger(__name__)


class JobEvents:
    """The source: table job_events."""

    def __init__(self) -> None:
        self._held_since: float | None = None
        self._has_said_so = False

    def start(self, _after: int | None) -> int | None:
        """The reader begins at what is newest; whoever resumes further back reads up to there."""
        return None

    async def read(self, after: int | None, *, live: bool) -> Reading[int]:
        """The next changes. Raises ForgottenError where some after that id may have been deleted."""
        limit = _PAGE if live else _SMALL_PAGE
        page = await job_events.read(after, limit)
        if after is not None and (after > page.newest or not (live or page.known)):
            raise ForgottenError(page.settled)
        if live:
            self._note_held(page)
        return Reading([_entry(one) for one in page.events], page.up_to, more=len(page.events) == limit)

    def _note_held(self, page: EventPage) -> None:
        """Says in the log when somebody's transaction holds all changes back for long."""
        now = time.monotonic()
        if page.events or page.up_to >= page.newest:
            self._held_since, self._has_said_so = None, False
        elif self._held_since is None:
            self._held_since = now
        elif now - self._held_since > _LONG_HELD_SECONDS and not self._has_said_so:
            self._has_said_so = True
            logger.warning(
                "Changes of jobs are held back: a transaction that has changed one is open for %.0f s;"
                " its process is in pg_locks, locktype advisory, classid 1784820001",
                _LONG_HELD_SECONDS,
            )


def _entry(change: JobEvent) -> Entry[int]:
    data = {"jobId": str(change.job_id), "at": utc(change.at), **change.data}
    return Entry(change.id, event(change.kind, data, str(change.id)), (change.data.get("jobType"), change.job_id))


class JobStream:
    """What one client is told."""

    def __init__(
        self, feed: Feed[int], after: int | None, types: Collection[JobType] = (), jobs: Collection[UUID] = ()
    ) -> None:
        self._feed = feed
        self._after = after
        self._types = frozenset(one.value for one in types)
        self._jobs = frozenset(jobs)
        self.position = str(after) if after is not None else None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The events, those of some moment together."""
        steps = self._feed.listen(self._after)
        try:
            async for step in steps:
                if step.position is not None:
                    self.position = str(step.position)
                if chunk := self._chunk(step):
                    yield chunk
        finally:
            await steps.aclose()

    def _chunk(self, step: Step[int]) -> bytes:
        if step.sign is None:
            return b"".join(entry.chunk for entry in step.entries if self._is_wanted(entry))
        match step.sign:
            case Sign.READY:
                said = {"lastEventId": self.position}
            case Sign.RESET:
                said = {"lastEventId": self.position, "reason": "Events since then are not kept: load the list again"}
            case _:
                said = {"reason": step.reason}
        return event(step.sign.value, said, self.position)

    def _is_wanted(self, entry: Entry[int]) -> bool:
        job_type, job_id = entry.facts
        return (not self._types or job_type in self._types) and (not self._jobs or job_id in self._jobs)
