"""Keeps Prefect's schedules what prefect.yaml and the admins' edits say, whoever changed them: a deploy, or a person.

What is ours in a deployment is its schedule with the slug `default`. Others were added in Prefect by somebody: they are
left alone (the next `prefect deploy` deletes them, and a type that is switched off runs by none of them). A deployment
that is paused in Prefect is un-paused: what holds starts back is `enabled`, or the pause of everything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from api.background import Troubles
from api.orchestrator import DeployedSchedule, DeployedSchedules, Orchestrator
from flows.core import schedules
from flows.core.errors import SchedulerError
from flows.core.prefect_yaml import SLUG
from flows.core.schedules import NEVER, Override, Schedule, effective

# What a deploy has overwritten is back within 5 s. A look takes Prefect's server some 50 ms of CPU.
LOOK_SECONDS = 2.5
# For so long one shim is the one that looks; when it is gone another takes over.
WATCH_SECONDS = 6.0
# How long an admin who edits a schedule waits for Prefect; what takes longer is left to the next look.
EDIT_SECONDS = 3.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Changes:
    """What is to be done in Prefect for one job type; empty where all is right."""

    make: Schedule | None = None
    change: tuple[UUID, Schedule] | None = None
    drop: UUID | None = None
    unpause: bool = False

    def __bool__(self) -> bool:
        return bool(self.make or self.change or self.drop or self.unpause)


def differences(file: Schedule, override: Override | None, found: DeployedSchedules) -> Changes:
    """What makes the schedules found in Prefect say what file and override say."""
    wanted, ours = effective(file, override), ours_of(found)
    if wanted.cron is None:
        return Changes(drop=ours.schedule_id if ours and ours.slug == SLUG else None, unpause=found.paused)
    if ours is None:
        return Changes(make=wanted, unpause=found.paused)
    is_right = (
        (ours.cron, ours.timezone, ours.active) == (wanted.cron, wanted.timezone, wanted.enabled)
        and ours.slug == SLUG
        and ours.is_plain
    )
    return Changes(change=None if is_right else (ours.schedule_id, wanted), unpause=found.paused)


def ours_of(found: DeployedSchedules) -> DeployedSchedule | None:
    """The schedule that is ours: by its slug, or because it is the only cron and has no other name."""
    by_slug = next((one for one in found.schedules if one.slug == SLUG), None)
    lone = found.schedules[0] if len(found.schedules) == 1 else None
    return by_slug or (lone if lone and lone.slug is None and lone.cron is not None else None)


class ScheduleKeeper:
    """Applies edits at once, and looks again and again; of several shims one looks at a time."""

    def __init__(self, orchestrator: Orchestrator, files: Mapping[str, Schedule]) -> None:
        """`files` is what prefect.yaml says of each job type."""
        self._files = dict(files)
        self._orchestrator = orchestrator
        self._name = str(uuid4())
        self._troubles = Troubles(logger)

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            began = time.monotonic()
            async with self._troubles.noted("look at the schedules"):
                await self.restore()
            await asyncio.sleep(max(0.5, LOOK_SECONDS - (time.monotonic() - began)))

    async def restore(self) -> None:
        """Makes every schedule in Prefect what it must be, if it is this shim's turn."""
        overrides = await schedules.watch(self._name, WATCH_SECONDS)
        if overrides is None:
            return
        deployed = await self._orchestrator.schedules()
        for found in deployed:
            if not differences(self.file(found.job_type), overrides.get(found.job_type), found):
                continue
            async with self._troubles.noted(f"schedule of {found.job_type}"):
                await self._restore(found)

    async def _restore(self, found: DeployedSchedules) -> None:
        # Somebody may have edited it since: the newest override decides.
        override = (await schedules.now()).by_type.get(found.job_type)
        changes = differences(self.file(found.job_type), override, found)
        if not changes:
            return
        await self._apply(found, changes)
        details = {"found": _shown(found), "set": _words(effective(self.file(found.job_type), override))}
        logger.warning("Schedule of %s in Prefect was put right: %s", found.job_type, details)
        await schedules.note_restored(found.job_type, details)

    async def applied(self, job_type: str, override: Override | None) -> bool:
        """Makes Prefect follow an edit; False where it cannot now: the next look does it."""
        try:
            async with asyncio.timeout(EDIT_SECONDS):
                deployed = await self._orchestrator.schedules([job_type])
                for found in deployed:
                    await self._apply(found, differences(self.file(job_type), override, found))
        except (SchedulerError, TimeoutError) as error:
            logger.warning(
                "The edited schedule of %s is not in Prefect yet: %s", job_type, error or "no answer in time"
            )
            return False
        return bool(deployed)

    async def _apply(self, found: DeployedSchedules, changes: Changes) -> None:
        if not changes:
            return
        prefect, deployment_id = self._orchestrator, found.deployment_id
        if changes.make is not None:
            await prefect.make_schedule(deployment_id, **_prefect_words(changes.make))
        if changes.change is not None:
            schedule_id, wanted = changes.change
            await prefect.change_schedule(deployment_id, schedule_id, **_prefect_words(wanted))
        if changes.drop is not None:
            await prefect.drop_schedule(deployment_id, changes.drop)
        await prefect.wake_deployment(deployment_id)

    def file(self, job_type: str) -> Schedule:
        """What prefect.yaml says of a job type."""
        return self._files.get(job_type, NEVER)


def _prefect_words(schedule: Schedule) -> dict[str, Any]:
    return {"slug": SLUG, "cron": schedule.cron, "timezone": schedule.timezone, "active": schedule.enabled}


def _words(schedule: Schedule) -> dict[str, Any]:
    return {"cron": schedule.cron, "timezone": schedule.timezone, "enabled": schedule.enabled}


def _shown(found: DeployedSchedules) -> dict[str, Any] | None:
    ours = ours_of(found)
    if ours is None:
        return None
    return _words(Schedule(ours.cron, ours.timezone, enabled=ours.active)) | ({"paused": True} if found.paused else {})
