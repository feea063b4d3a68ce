"""The log of one job as a stream: what `GET /api/jobs/{id}/logs/stream` tells.

Prefect has no order that a reader could go on by: lines carry the time when they were said, and arrive up to some
seconds later, in batches of several processes. But each carries when it arrived as well, and that is the order here: by
(arrival, id), which every replica can find again. So an id of the stream is just that pair.

Prefect is asked by the time of saying, once a second, from `_OVERLAP` before the arrival of the last line told; of
what it answers, the lines that arrived after that one are new. A line is held back until it is `settled`, half a second
old or twice what Prefect's last answer took, because an earlier one may still be on its way into Prefect's database.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from api.feeds import Entry, Feed, Reading, Sign, Step
from api.log_lines import LineViews, later
from api.orchestrator import PAGE, Orchestrator, RunLogLine
from api.sse import event
from flows.core import scheduled_jobs
from flows.core.scheduled_jobs import LogSpan

INTERVAL_SECONDS = 1.0
# Processes send what they have said every two seconds, and once more while they end; then it has to settle, and is seen
# at the next look.
LAST_LINES = timedelta(seconds=5)
_OVERLAP = timedelta(seconds=20)
_CLOCKS = timedelta(seconds=2)  # how far the clocks of Prefect and of the processes may be apart
_SHORTEST_SETTLING, _LONGEST_SETTLING = 0.5, 5.0
# How many lines are looked for at once by the reader, and by a listener who has them for itself.
_STRETCH, _SMALL_STRETCH = 1000, 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ID = re.compile(r"(\d{1,16})-([0-9a-f]{32})", re.ASCII)


class Position(NamedTuple):
    """After which line: by arrival, then by id. Its text is the id of the line's event."""

    arrived_at: datetime
    line_id: UUID

    def __str__(self) -> str:
        return f"{(self.arrived_at - _EPOCH) // _MICROSECOND}-{self.line_id.hex}"

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """The position of an event's id, None where it is none."""
        found = _ID.fullmatch(text)
        return cls(_EPOCH + int(found[1]) * _MICROSECOND, UUID(found[2])) if found else None


BEGINNING = Position(_EPOCH, UUID(int=0))


@dataclass(frozen=True)
class Found:
    """New lines in the order of their arrival, and whether there are more."""

    lines: list[RunLogLine]
    more: bool
    unsettled: int = 0


class JobLog:
    """The source: a job's stretch of its flow run's log."""

    def __init__(self, job_id: UUID, orchestrator: Orchestrator, views: LineViews) -> None:
        self._job_id = job_id
        self._orchestrator = orchestrator
        self._views = views

    def start(self, after: Position | None) -> Position | None:
        """The reader begins where its first listener does."""
        return after or BEGINNING

    async def read(self, after: Position | None, *, live: bool) -> Reading[Position]:
        """The next lines; `ended` when the job has ended and its last lines have had their time to arrive."""
        position = after or BEGINNING
        now = datetime.now(UTC)
        span = await scheduled_jobs.log_span(self._job_id)
        if span is None:
            return Reading([], position, ended=True)
        if span.flow_run_id is None:
            reason = None if span.status.has_ended else "The job has no flow run yet"
            return Reading([], position, waits_for=reason, ended=span.status.has_ended)
        found = await self._find(span, span.flow_run_id, position, _STRETCH if live else _SMALL_STRETCH)
        views = await self._views.of(found.lines)
        entries = []
        for line, view in zip(found.lines, views, strict=True):
            position = Position(line.arrived_at, line.id)
            shown = view.model_dump(mode="json", by_alias=True)
            entries.append(Entry(position, event("log", shown, str(position)), (line.level,)))
        is_over = span.status.has_ended and now > (span.completed_at or _EPOCH) + LAST_LINES
        return Reading(entries, position, found.more, ended=is_over and not found.more and not found.unsettled)

    async def _find(self, span: LogSpan, flow_run_id: UUID, position: Position, most: int) -> Found:
        """Looks through the log from a little before the position on, until there are so many new lines."""
        since = later(span.since, None if position == BEGINNING else position.arrived_at - _OVERLAP)
        new: dict[UUID, RunLogLine] = {}
        offset = 0
        settling = _SHORTEST_SETTLING
        looked_at = datetime.now(UTC)
        while True:
            began = time.monotonic()
            page = await self._orchestrator.log_lines(flow_run_id, since=since, until=span.until, offset=offset)
            settling = min(max(settling, 2 * (time.monotonic() - began)), _LONGEST_SETTLING)
            new |= {line.id: line for line in page if Position(line.arrived_at, line.id) > position}
            surely = looked_at - timedelta(seconds=settling)
            if not (is_last := len(page) < PAGE):
                # No line arrives before it was said: all that come on later pages arrived after this.
                surely = min(surely, page[-1].said_at - _CLOCKS)
            settled = [line for line in new.values() if line.arrived_at <= surely]
            if is_last or len(settled) >= most:
                settled.sort(key=lambda line: (line.arrived_at, line.id))
                return Found(settled[:most], more=not is_last or len(settled) > most, unsettled=len(new) - len(settled))
            offset += len(page)


class LogFeeds:
    """One reader for each job that is watched."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        self.views = LineViews(orchestrator)
        self._feeds: dict[UUID, Feed[Position]] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    def of(self, job_id: UUID) -> Feed[Position]:
        """The reader of this job's log. It is there for as long as somebody listens."""
        if job_id not in self._feeds:
            source = JobLog(job_id, self._orchestrator, self.views)
            self._feeds[job_id] = Feed(
                f"the log of job {job_id}",
                source,
                interval_seconds=INTERVAL_SECONDS,
                idle=lambda: self._forget(job_id),
            )
        return self._feeds[job_id]

    def _forget(self, job_id: UUID) -> None:
        self._feeds.pop(job_id, None)


class LogStream:
    """What one client is told."""

    def __init__(self, feeds: LogFeeds, job_id: UUID, after: Position | None, level: int) -> None:
        self._feeds = feeds
        self._job_id = job_id
        self._after = after or BEGINNING
        self._level = level
        self.position = str(self._after)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The events, those of some moment together."""
        steps = self._feeds.of(self._job_id).listen(self._after)
        try:
            async for step in steps:
                self.position = str(step.position)
                if chunk := self._chunk(step):
                    yield chunk
        finally:
            await steps.aclose()

    def _chunk(self, step: Step[Position]) -> bytes:
        if step.sign is None:
            return b"".join(entry.chunk for entry in step.entries if entry.facts[0] >= self._level)
        if step.sign in (Sign.READY, Sign.END):
            return event(step.sign.value, {"lastEventId": self.position}, self.position)
        return event(step.sign.value, {"reason": step.reason}, self.position)
