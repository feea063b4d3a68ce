"""What runs have logged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from prefect.client.schemas.filters import (
    LogFilter,
    LogFilterFlowRunId,
    LogFilterLevel,
    LogFilterTimestamp,
    TaskRunFilter,
    TaskRunFilterId,
)
from prefect.client.schemas.sorting import LogSort

from api.orchestrator.connection import BRIEF_SECONDS, PAGE, Connection


@dataclass(frozen=True)
class LogLine:
    message: str
    at: datetime


@dataclass(frozen=True)
class RunLogLine:
    """A line of a run's log. `arrived_at` is when Prefect got it: seconds after it was said, and in another order."""

    id: UUID
    said_at: datetime
    arrived_at: datetime
    level: int
    message: str
    task_run_id: UUID | None


class Logs(Connection):
    async def newest_complaint(self, flow_run_id: UUID) -> LogLine | None:
        """The newest line that the run has logged at WARNING or worse."""
        wanted = LogFilter(
            flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]), level=LogFilterLevel(ge_=logging.WARNING)
        )
        async with self.asking("read logs", BRIEF_SECONDS):
            lines = await self.client.read_logs(wanted, limit=1, sort=LogSort.TIMESTAMP_DESC)
        return LogLine(lines[0].message, lines[0].timestamp) if lines else None

    async def log_lines(
        self,
        flow_run_id: UUID,
        *,
        since: datetime | None,
        until: datetime | None,
        level: int | None = None,
        limit: int = PAGE,
        offset: int = 0,
    ) -> list[RunLogLine]:
        """Lines of a run's log, oldest first by when they were said; both times are included. At most a page."""
        said = LogFilterTimestamp(after_=since, before_=until)
        wanted = LogFilter(
            flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]),
            timestamp=said if since or until else None,
            level=LogFilterLevel(ge_=level) if level is not None else None,
        )
        async with self.asking("read logs"):
            lines = await self.client.read_logs(wanted, limit=limit, offset=offset, sort=LogSort.TIMESTAMP_ASC)
        return [
            RunLogLine(
                one.id,
                _plain(one.timestamp),
                _plain(one.created or one.timestamp),
                one.level,
                one.message,
                one.task_run_id,
            )
            for one in lines
        ]

    async def task_run_names(self, task_run_ids: Sequence[UUID]) -> dict[UUID, str]:
        """The names of these task runs, as far as Prefect has them (yet)."""
        names: dict[UUID, str] = {}
        for start in range(0, len(task_run_ids), PAGE):
            wanted = TaskRunFilter(id=TaskRunFilterId(any_=list(task_run_ids[start : start + PAGE])))
            async with self.asking("read task runs", BRIEF_SECONDS):
                runs = await self.client.read_task_runs(task_run_filter=wanted, limit=PAGE)
            names |= {run.id: run.name for run in runs}
        return names


def _plain(time: datetime) -> datetime:
    """The time in the standard library's own type: Prefect's is a subclass with another arithmetic."""
    return datetime.fromisoformat(time.isoformat()).astimezone(UTC)
