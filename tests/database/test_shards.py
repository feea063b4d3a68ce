"""A job that fans out: its shards run beside it, and nothing goes on in its name when it has ended."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.database.conftest import Scheduler


class Parent:
    """A running job with the gate of its type."""

    def __init__(self, scheduler: Scheduler, job: UUID, fence: int) -> None:
        self.scheduler, self.job, self.fence = scheduler, job, fence

    @classmethod
    async def started(cls, scheduler: Scheduler, **job: Any) -> Parent:
        made = await scheduler.accept(key="weekly_digest", job_type="weekly_digest", **job)
        taken = await scheduler.take(made)
        assert taken["decision"] == "go", taken
        return cls(scheduler, made, taken["fence"])

    async def fan_out(self, count: int) -> list[UUID]:
        shards: list[UUID] = await self.scheduler.call(
            "accept_shards", job=self.job, fence=self.fence, count=count, parameters={"week": "2026-W48"}
        )
        return shards

    async def statuses(self) -> list[str]:
        found = await self.scheduler.call("shards_of", job=self.job)
        return sorted(found.values())


@pytest.fixture
async def parent(scheduler: Scheduler) -> Parent:
    return await Parent.started(scheduler)


async def test_shards_are_jobs_of_the_same_type_beside_the_gate(parent: Parent) -> None:
    shards = await parent.fan_out(3)
    assert len(set(shards)) == 3
    assert await parent.statuses() == ["pending"] * 3
    for shard in shards:
        row = await parent.scheduler.row(shard)
        assert (row["job_type"], row["parent_id"], row["exclusive_key"]) == ("weekly_digest", parent.job, None)
        assert row["parameters"] == {"week": "2026-W48"}
        assert (await parent.scheduler.take(shard))["decision"] == "go"
    audited = await parent.scheduler.connection.fetchval(
        "select count(*) from scheduler_audit where actor = 'scheduler' and action = 'fan out'"
    )
    assert audited == 3


async def test_asked_again_it_makes_only_what_is_missing(parent: Parent) -> None:
    first = await parent.fan_out(2)
    assert await parent.fan_out(2) == first
    assert (await parent.fan_out(3))[:2] == first


async def test_only_a_running_job_fans_out(parent: Parent) -> None:
    await parent.scheduler.age_lease(parent.job, 91)
    with pytest.raises(asyncpg.PostgresError) as refusal:
        await parent.fan_out(2)
    assert refusal.value.sqlstate == "SJ001"
    assert await parent.statuses() == []


async def test_shards_that_have_not_started_are_released(parent: Parent) -> None:
    started, waiting = await parent.fan_out(2)
    await parent.scheduler.take(started)
    found = await parent.scheduler.call("release_shards", job=parent.job, fence=parent.fence)
    assert found == {str(started): "running", str(waiting): "cancelled"}
    assert (await parent.scheduler.row(started))["cancel_requested_at"] is None


async def end_well(parent: Parent) -> None:
    ended = {"success": True, "itemsProcessed": 0, "errors": [], "details": {}}
    await parent.scheduler.call("finish_job", id=parent.job, fence=parent.fence, status="completed", result=ended)


async def die(parent: Parent) -> None:
    await parent.scheduler.age_lease(parent.job, 91)
    await parent.scheduler.sweep_without_grace()


async def be_cancelled(parent: Parent) -> None:
    await parent.scheduler.call("cancel_job", id=parent.job, by="somebody", actor="somebody")
    await parent.scheduler.call(
        "bury_job", flow_run_id=parent.job, worker="another worker", reason="gone", by_itself=True, cancelled=False
    )


@pytest.mark.parametrize("end", [end_well, die, be_cancelled])
async def test_however_a_job_ends_its_shards_are_stopped(parent: Parent, end: Any) -> None:
    started, _ = await parent.fan_out(2)
    await parent.scheduler.take(started)
    await end(parent)
    assert await parent.statuses() == ["cancelled", "running"]
    row = await parent.scheduler.row(started)
    assert (row["cancel_requested_by"], row["cancel_requested_at"] is not None) == ("scheduler", True)


async def test_a_dead_shard_is_not_tried_again_its_parent_is(parent: Parent) -> None:
    (shard,) = await parent.fan_out(1)
    await parent.scheduler.take(shard)
    await die(Parent(parent.scheduler, shard, 1))
    row = await parent.scheduler.row(shard)
    assert (row["status"], row["died"], row["recover_at"]) == ("failed", True, None)
    await die(parent)
    assert (await parent.scheduler.row(parent.job))["recover_at"] is not None


async def test_the_shards_of_a_scheduled_job_are_not_decided_about_as_fires_are(scheduler: Scheduler) -> None:
    run = await scheduler.adopt(origin="schedule", job_type="weekly_digest", exclusive_key="weekly_digest")
    taken = await scheduler.take(run)
    first, second = await Parent(scheduler, run, taken["fence"]).fan_out(2)
    await scheduler.connection.execute(
        "insert into schedule_overrides (job_type, enabled) values ('weekly_digest', false)"
    )
    try:
        # Neither switched off, nor superseded by the shard that was made after it.
        assert (await scheduler.take(first))["decision"] == "go"
        # A schedule's next fire is not superseded by a shard that waits, either.
        assert (await scheduler.row(second))["origin"] == "schedule"
    finally:
        await scheduler.connection.execute("delete from schedule_overrides")
    fire = await scheduler.adopt(origin="schedule", job_type="weekly_digest", exclusive_key=None)
    assert (await scheduler.take(fire))["decision"] == "go"


async def test_a_try_knows_when_the_first_one_was_asked_for(scheduler: Scheduler) -> None:
    first = await scheduler.accept()
    await scheduler.connection.execute(
        "update scheduled_jobs set created_at = now() - interval '1 day', status = 'failed' where id = $1", first
    )
    second = await scheduler.accept(retry_of=str(first))
    await scheduler.connection.execute("update scheduled_jobs set status = 'failed' where id = $1", second)
    third = await scheduler.accept(retry_of=str(second))
    asked_at = await scheduler.call("first_asked_at", id=third)
    assert asked_at == (await scheduler.row(first))["created_at"]
    assert await scheduler.call("first_asked_at", id=uuid4()) is None
