"""A schedule as the API shows it: what holds, what of it is an admin's edit, and what prefect.yaml says beneath."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from api.crons import next_runs
from api.schemas import Answer, UtcTime
from flows.core.schedules import Override, Schedule, effective


class ScheduleView(Answer):
    job_type: str = Field(description="Kind of job")
    cron: str | None = Field(description="When it runs by itself; null: never")
    timezone: str = Field(description="Time zone of the cron")
    enabled: bool = Field(description="Whether it runs by itself")
    overridden: bool = Field(description="Whether an admin's edit is in force")
    overridden_fields: list[str] = Field(description="Which of cron, timezone and enabled are an admin's")
    file_cron: str | None = Field(description="What prefect.yaml says")
    file_timezone: str = Field(description="What prefect.yaml says")
    file_enabled: bool = Field(description="What prefect.yaml says; false also where the environment pauses schedules")
    next_runs: list[UtcTime] = Field(description="The next 5 runs; empty while it is disabled or everything is paused")
    version: int = Field(description="Version of the edits, for If-Match; 0: nobody ever edited it")
    updated_by: str | None = Field(description="Internal id of the user who edited it last; null if nobody did")
    updated_at: UtcTime | None = Field(description="When that was")


async def schedule_fields(
    job_type: str, file: Schedule, override: Override | None, *, paused: bool, now: datetime
) -> dict[str, Any]:
    """The fields of a `ScheduleView`."""
    holds = effective(file, override)
    runs = holds.enabled and not paused and holds.cron is not None
    return {
        "job_type": job_type,
        "cron": holds.cron,
        "timezone": holds.timezone,
        "enabled": holds.enabled,
        "overridden": bool(override and override.fields),
        "overridden_fields": list(override.fields) if override else [],
        "file_cron": file.cron,
        "file_timezone": file.timezone,
        "file_enabled": file.enabled,
        "next_runs": list(await next_runs(holds.cron, holds.timezone, now)) if runs and holds.cron else [],
        "version": override.version if override else 0,
        "updated_by": override.updated_by if override else None,
        "updated_at": override.updated_at if override else None,
    }
