"""What the worker knows and the rows must: which processes are gone; and what the rows know: which must go.

A worker that waits for its runs' processes is the only one who can say at once, and for sure, that one has ended. It
says so to the database, so that the row is right within the second, also while Prefect is away. And it ends processes
whose own way to stop has not worked: told to stop 10 s ago, over their time, or fenced off and still there.
"""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Callable
from typing import Any, Self
from uuid import UUID

from pydantic import ValidationError

from flows.clients import database
from flows.core import scheduled_jobs
from flows.core.domain import JobStatus
from flows.core.errors import SchedulerError
from flows.core.redaction import redact
from flows.core.settings import settings
from worker.processes import RunProcess

_LOOK_SECONDS = 3.0
# A death is told before anything else is done about it, but not for longer than this; then it is told beside the rest.
_AT_ONCE_SECONDS = 3.0
_AGAIN_SECONDS = 2.0
_PATIENCE_SECONDS = 1800.0


class Rows:
    """The worker's words with the database. Without its address (a worker of other flows) there are none."""

    def __init__(
        self,
        living: Callable[[], dict[UUID, RunProcess]],
        will_die_of: Callable[[UUID, str], None],
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self._living = living
        self._will_die_of = will_die_of
        self._logger = logger
        self._under_way: set[asyncio.Task[Any]] = set()
        self._being_ended: set[int] = set()
        self._watch: asyncio.Task[None] | None = None
        self._failing = False
        try:
            settings()
        except ValidationError:
            self.can_tell = False
        else:
            self.can_tell = True

    async def __aenter__(self) -> Self:
        if self.can_tell:
            self._watch = asyncio.create_task(self._watch_forever())
        else:
            self._logger.info("SUPABASE_URL or its key is not set: no row is told of the death of a run")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watch is not None:
            self._watch.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_AT_ONCE_SECONDS)
        for late in self._under_way:
            late.cancel()
        if self.can_tell:
            await database.close()

    async def bury(
        self, flow_run_id: UUID, pid: int, reason: str, *, by_itself: bool, cancelled: bool
    ) -> JobStatus | None:
        """Tells the row that the run's process is gone; the job's status then, None where it could not be told yet."""
        if not self.can_tell:
            return None
        telling = asyncio.create_task(self._bury(flow_run_id, pid, reason, by_itself=by_itself, cancelled=cancelled))
        self._under_way.add(telling)
        telling.add_done_callback(self._under_way.discard)
        done, _ = await asyncio.wait([telling], timeout=_AT_ONCE_SECONDS)
        return telling.result() if done else None

    async def _bury(self, flow_run_id: UUID, pid: int, reason: str, **how: bool) -> JobStatus | None:
        worker = f"{platform.node()}/{pid}"
        deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while True:
            try:
                return await scheduled_jobs.bury(flow_run_id, worker, redact(reason), **how)
            except SchedulerError as error:
                if asyncio.get_running_loop().time() > deadline:
                    self._logger.error("The end of flow run '%s' is not in its row: %s", flow_run_id, error)  # noqa: TRY400
                    return None
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _watch_forever(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._end_what_must_end()
            except SchedulerError as error:
                if not self._failing:
                    self._logger.warning("The rows cannot be asked which runs must end: %s", error)
                self._failing = True
            else:
                self._failing = False

    async def _end_what_must_end(self) -> None:
        living = self._living()
        if not living:
            return
        for order in await scheduled_jobs.runs_to_end(list(living)):
            process = living[order.flow_run_id]
            if process.pid in self._being_ended:
                continue
            self._being_ended.add(process.pid)
            self._will_die_of(order.flow_run_id, f"stopped by the worker: {order.reason}")
            self._logger.warning("Ending the process of flow run '%s': %s", order.flow_run_id, order.reason)
            ending = asyncio.create_task(self._end(process, order.grace_seconds))
            self._under_way.add(ending)
            ending.add_done_callback(self._under_way.discard)

    async def _end(self, process: RunProcess, grace_seconds: int) -> None:
        try:
            await process.end(grace_seconds)
        finally:
            self._being_ended.discard(process.pid)
