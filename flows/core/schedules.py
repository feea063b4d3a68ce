"""When a job type runs: what prefect.yaml says, an admin's edits over it, and the only words for `schedule_overrides`.

Read and edited by the shim, read by `deployments apply`. Errors: `Unavailable` while the database cannot answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from flows.clients import database
from flows.core.prefect_yaml import Stanza


@dataclass(frozen=True)
class Schedule:
    """When a job type runs by itself; without a cron it never does."""

    cron: str | None
    timezone: str
    enabled: bool


@dataclass(frozen=True)
class Override:
    """An admin's edits of a schedule: a field that is None is as the file says. `version` is never used twice."""

    job_type: str
    cron: str | None
    timezone: str | None
    enabled: bool | None
    version: int
    updated_by: str | None
    updated_at: datetime

    @property
    def fields(self) -> tuple[str, ...]:
        """What it overrides; empty for one that was taken back."""
        return tuple(name for name in ("cron", "timezone", "enabled") if getattr(self, name) is not None)


@dataclass(frozen=True)
class Overrides:
    """Every override by job type, and why nothing starts now (None: nothing is paused)."""

    by_type: dict[str, Override]
    paused: str | None = None


@dataclass(frozen=True)
class Edit:
    """The answer of `edit`: done, unchanged or mismatch, and the override as it stands then."""

    outcome: str
    override: Override | None
    paused: str | None


NEVER = Schedule(None, "UTC", enabled=False)
_override = TypeAdapter(Override)
_overrides = TypeAdapter(list[Override])


def of_file(stanzas: Sequence[Stanza], *, paused: bool = False) -> dict[str, Schedule]:
    """What prefect.yaml says of each job type; `paused` switches all off, as `SCHEDULES_PAUSED` does at a deploy."""
    found = {}
    for stanza in stanzas:
        schedule = next(iter(stanza.schedules), None)
        found[stanza.name] = (
            Schedule(schedule.cron, schedule.timezone, enabled=schedule.active and not paused) if schedule else NEVER
        )
    return found


def effective(file: Schedule, override: Override | None) -> Schedule:
    """When the type runs: the override's fields where it has any, else the file's."""
    if override is None:
        return file
    return Schedule(
        cron=file.cron if override.cron is None else override.cron,
        timezone=file.timezone if override.timezone is None else override.timezone,
        enabled=file.enabled if override.enabled is None else override.enabled,
    )


def changes(file: Schedule, asked: dict[str, Any]) -> dict[str, Any]:
    """What an edit makes of an override: a value that is the file's own is no override, so that it follows the file.

    Except `enabled: false`: runs ask the database for it before they begin, and the database does not know the file.
    """
    return {
        name: None if value == getattr(file, name) and value is not False else value for name, value in asked.items()
    }


async def now() -> Overrides:
    """Every override, and whether starts are paused."""
    answer = await database.rpc("schedules_now")
    return Overrides(_by_type(answer["overrides"]), answer["paused"])


async def watch(watcher: str, seconds: float) -> dict[str, Override] | None:
    """Every override where `watcher` is the one to put schedules right for the next seconds, None where another is."""
    answer = await database.rpc("watch_schedules", watcher=watcher, seconds=seconds)
    return _by_type(answer["overrides"]) if answer["mine"] else None


async def edit(
    job_type: str,
    changed: dict[str, Any],
    *,
    asked: dict[str, Any],
    action: str,
    by: str,
    actor: str,
    expected: Sequence[int] | None,
) -> Edit:
    """Changes an override, with its audit entry; None in `changed` takes a field back, `expected` are the versions."""
    answer = await database.rpc(
        "edit_schedule",
        job_type=job_type,
        changes=changed,
        asked=asked,
        action=action,
        by=by,
        actor=actor,
        expected=list(expected) if expected is not None else None,
    )
    row = answer["override"]
    return Edit(answer["outcome"], _override.validate_python(row) if row else None, answer["paused"])


async def note_restored(job_type: str, details: dict[str, Any]) -> None:
    """Audits that the schedule in Prefect was made what file and override say."""
    await database.rpc("note_schedule_restored", job_type=job_type, details=details)


def _by_type(rows: Any) -> dict[str, Override]:
    return {override.job_type: override for override in _overrides.validate_python(rows)}
