"""How maintenance jobs go through large tables: functions of the database, called a batch at a time.

A batch is one transaction, and holds its locks for well under a second: the size follows the time that the database
measured, and between two batches other traffic gets its turn. A function is given `limit` and `after`, and answers
with `rows`, `done`, `more`, `after` and `seconds` (batch_done in the migrations). Where a run ends, the next goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from pydantic import BaseModel, ConfigDict, Field

from flows.clients import database
from flows.core.errors import Unavailable
from flows.core.lease import report_progress, under_lease
from flows.core.retries import DATABASE_STRETCH

SLOW_SECONDS = 0.5  # a batch that took longer is halved
QUICK_SHARE = 0.5  # of that: a batch that took less is doubled
PAUSE_SHARE = 0.05  # of a batch's time, before the next
SHORTEST_PAUSE_SECONDS = 0.005
STRETCH_SECONDS = 120.0  # of batches in one Prefect task: six hours are 180 of them


class Limits(BaseModel):
    """The parameters that every maintenance job has."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = Field(False, description="Only say what would be done; nothing is changed.")
    max_batch: int | None = Field(
        None, ge=10, le=1_000_000, description="Most rows in one batch; left out, as many as half a second allows."
    )


@dataclass
class Pace:
    """How many rows (or what else a function counts its batches in) the next batch takes."""

    size: int
    smallest: int
    largest: int
    slow_seconds: float = SLOW_SECONDS

    def cap(self, most: int) -> None:
        """Never takes more than that."""
        self.largest = min(self.largest, most)
        self.size, self.smallest = min(self.size, most), min(self.smallest, most)

    def note(self, seconds: float) -> None:
        """Fits the size to how long a batch of it took."""
        if seconds > self.slow_seconds:
            self.slow_down()
        elif seconds < self.slow_seconds * QUICK_SHARE:
            self.size = min(self.largest, self.size * 2)

    def slow_down(self) -> None:
        """Halves the size."""
        self.size = max(self.smallest, self.size // 2)

    @staticmethod
    def pause(seconds: float) -> float:
        """How long to leave the database alone after a batch that took so long."""
        return max(SHORTEST_PAUSE_SECONDS, seconds * PAUSE_SHARE)


@dataclass
class Tally:
    """What a run has done so far, by step, for its progress and its result; and how much it may do at once."""

    max_batch: int | None = None
    done: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.done.values())

    def note(self, step: str, done: int) -> None:
        self.done[step] = done
        self.show(step)

    def show(self, phase: str) -> None:
        """Reports the progress. How much there is to do is known at its end only."""
        report_progress(self.total, None, phase)


@dataclass
class Walk:
    """One function's way through a table. It knows where it is, so that it can be interrupted between any two calls."""

    function: str
    pace: Pace
    parameters: dict[str, Any] = field(default_factory=dict)
    heed: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None
    """Looks at each answer, and may return parameters that the next call gets."""
    after: Any = None
    more: bool = True
    rows: int = 0
    done: int = 0
    slowest_seconds: float = 0.0

    async def batch(self) -> None:
        """One call, and the pause after it."""
        answer = await database.patiently(self._call)
        self.rows += answer["rows"]
        self.done = self.rows if answer["done"] is None else answer["done"]
        self.after, self.more = answer["after"], answer["more"]
        self.slowest_seconds = max(self.slowest_seconds, answer["seconds"])
        self.pace.note(answer["seconds"])
        if self.heed is not None:
            self.parameters |= self.heed(answer) or {}
        if self.more:
            await asyncio.sleep(self.pace.pause(answer["seconds"]))

    async def _call(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await database.rpc(
                self.function, **under_lease(), limit=self.pace.size, after=self.after, **self.parameters
            )
        except Unavailable:
            # It may have been too much at once: the database cuts what takes 8 s, or waits 1 s for a lock.
            self.pace.slow_down()
            raise
        return answer

    async def stretch(self, tally: Tally, step: str, *, seconds: float = STRETCH_SECONDS) -> None:
        """Batches, until there is no more to do or the time is over."""
        until = time.monotonic() + seconds
        while self.more and time.monotonic() < until:
            await self.batch()
            tally.note(step, self.done)

    async def to_the_end(self, tally: Tally, step: str) -> int:
        """Everything, a Prefect task a stretch; returns how many rows it was."""
        if tally.max_batch is not None:
            self.pace.cap(tally.max_batch)
        while self.more:
            await as_task(step, lambda: self.stretch(tally, step))
        log().info("%s: %s", step, self.done)
        return self.done


async def as_task(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Does `work` as a retryable task of the flow that runs; simply so where none does (benchmarks, tests)."""
    if FlowRunContext.get() is None:
        await work()
        return

    @task(name=name, cache_policy=NO_CACHE, **DATABASE_STRETCH)
    async def stretch() -> None:
        await work()

    await stretch()


async def begin(*, dry_run: bool) -> datetime:
    """The time, by the database's clock, as of which a run works."""
    now = await database.patient_rpc("open_maintenance", **under_lease(), dry_run=dry_run)
    return datetime.fromisoformat(now)


def log() -> logging.Logger | logging.LoggerAdapter[Any]:
    """The run's logger, which Prefect shows; a plain one where no flow runs."""
    return logging.getLogger(__name__) if FlowRunContext.get() is None else get_run_logger()
