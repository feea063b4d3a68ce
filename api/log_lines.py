"""Lines of a job's log as the API gives them: redacted, with the level and the task by name."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from api.orchestrator import Orchestrator, RunLogLine
from api.schemas import Answer, UtcTime
from flows.core.errors import SchedulerError
from flows.core.redaction import redact

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LEVELS: dict[Level, int] = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
_NAMES: list[Level] = list(LEVELS)
_LONGEST_MESSAGE = 4000
_MOST_NAMES = 10_000


class LogLineView(Answer):
    id: UUID = Field(description="Prefect's id of the line")
    timestamp: UtcTime = Field(description="When it was said")
    level: Level = Field(description="How severe it is")
    message: str = Field(description="What was said, without addresses and tokens; 4,000 characters at most")
    task: str | None = Field(description="Name of the task run that said it; null for the flow itself")


class LogPage(Answer):
    logs: list[LogLineView] = Field(description="Oldest first, by timestamp")
    next_cursor: str | None = Field(
        description="Give it as `cursor` for the next page; null on the last one for now: a running job goes on"
    )


class TaskNames:
    """The names of task runs, each asked for once."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        self._names: dict[UUID, str] = {}

    async def of(self, lines: Sequence[RunLogLine]) -> dict[UUID, str]:
        """The names of the task runs of these lines, as far as they can be had: a line without one is shown as well."""
        wanted = {line.task_run_id for line in lines if line.task_run_id is not None}
        if unknown := sorted(wanted - self._names.keys()):
            if len(self._names) > _MOST_NAMES:
                self._names.clear()
                unknown = sorted(wanted)
            with suppress(SchedulerError):
                self._names |= await self._orchestrator.task_run_names(unknown)
        return {one: self._names[one] for one in wanted if one in self._names}


class LineViews:
    """Makes what is shown of what Prefect has."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._tasks = TaskNames(orchestrator)

    async def of(self, lines: Sequence[RunLogLine]) -> list[LogLineView]:
        """The lines as they are shown, in the same order."""
        tasks = await self._tasks.of(lines)
        return [
            LogLineView(
                id=line.id,
                timestamp=line.said_at,
                level=level_name(line.level),
                message=redact(line.message, limit=_LONGEST_MESSAGE),
                task=tasks.get(line.task_run_id) if line.task_run_id else None,
            )
            for line in lines
        ]


def level_name(level: int) -> Level:
    """The name of a level, or of the next lower one that has a name."""
    return _NAMES[max(bisect.bisect_right(list(LEVELS.values()), level) - 1, 0)]


def later(one: datetime | None, other: datetime | None) -> datetime | None:
    """The later of two times, either of which may be unsaid."""
    return max(one, other) if one and other else one or other
