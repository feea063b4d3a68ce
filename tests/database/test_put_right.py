"""Several see the same state that somebody set in Prefect, and put it right: the audit tells of it once."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from tests.database.conftest import Scheduler

FOUND = {"found": "COMPLETED", "set": "RUNNING"}


async def note(scheduler: Scheduler, job: UUID, **more: str) -> None:
    await scheduler.call("note_put_right", id=job, job_type="crawl_pending", details={**FOUND, **more})


async def noted(scheduler: Scheduler, job: UUID) -> list[Any]:
    rows = await scheduler.connection.fetch(
        "select details ->> 'stateId' as state from public.scheduler_audit where job_id = $1 and outcome = 'put right'"
        " order by at",
        job,
    )
    return [row["state"] for row in rows]


async def test_a_state_is_noted_once(scheduler: Scheduler) -> None:
    job, _ = await scheduler.running()
    for state in ("a", "a", "b", "a"):
        await note(scheduler, job, stateId=state)
    assert await noted(scheduler, job) == ["a", "b"]


async def test_another_job_is_noted_too(scheduler: Scheduler) -> None:
    first, second = await scheduler.accept(), await scheduler.accept()
    for job in (first, second):
        await note(scheduler, job, stateId="a")
    assert await noted(scheduler, first) == await noted(scheduler, second) == ["a"]


async def test_what_names_no_state_is_noted_each_time(scheduler: Scheduler) -> None:
    job, _ = await scheduler.running()
    for _ in range(2):
        await note(scheduler, job)
    assert await noted(scheduler, job) == [None, None]


async def test_two_at_once_are_one(scheduler: Scheduler, another: Scheduler) -> None:
    job, _ = await scheduler.running()
    for state in range(20):
        await asyncio.gather(*(note(each, job, stateId=str(state)) for each in (scheduler, another)))
    assert await noted(scheduler, job) == [str(state) for state in range(20)]
