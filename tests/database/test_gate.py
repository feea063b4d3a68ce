"""Dispatch and the gate: one holder a key, HIGH first, and every way for a run to find its row."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

from tests.database.conftest import Scheduler


async def dispatched(scheduler: Scheduler) -> list[UUID]:
    return [row["id"] for row in await scheduler.rows("claim_dispatch", limit=10)]


async def test_one_job_of_a_type_is_dispatched_and_the_next_waits_with_the_reason(scheduler: Scheduler) -> None:
    first, second = await scheduler.accept(), await scheduler.accept()
    assert await dispatched(scheduler) == [first]
    assert (await scheduler.row(second))["pending_reason"] == f"waiting for job {first} to end"


async def test_high_goes_first_then_the_oldest(scheduler: Scheduler) -> None:
    low, medium, high = [await scheduler.accept(priority) for priority in ("LOW", "MEDIUM", "HIGH")]
    older_high = await scheduler.accept("HIGH")
    order = []
    for _ in range(4):
        (job,) = await dispatched(scheduler)
        order.append(job)
        fence = (await scheduler.take(job))["fence"]
        await scheduler.finish(job, fence)
    assert order == [high, older_high, medium, low]


async def test_jobs_without_a_key_run_beside_anything(scheduler: Scheduler) -> None:
    jobs = [await scheduler.accept(key=None) for _ in range(3)]
    assert await dispatched(scheduler) == jobs


async def test_a_job_handed_out_is_not_handed_out_again_at_once(scheduler: Scheduler) -> None:
    job = await scheduler.accept()
    assert await dispatched(scheduler) == [job]
    assert await dispatched(scheduler) == []
    await scheduler.call("postpone_dispatch", id=job, reason="Prefect is down", seconds=0)
    assert await dispatched(scheduler) == [job]


async def test_a_dispatched_job_is_not_dispatched_again(scheduler: Scheduler) -> None:
    job = await scheduler.accept()
    await dispatched(scheduler)
    assert await scheduler.call("record_dispatch", id=job, flow_run_id=uuid4()) == "pending"
    await scheduler.connection.execute("update public.scheduled_jobs set dispatch_after = now()")
    assert await dispatched(scheduler) == []


async def test_a_run_that_was_sent_back_before_it_was_recorded_is_not_the_jobs_run_any_more(
    scheduler: Scheduler,
) -> None:
    job, run = await scheduler.accept(key=None), uuid4()
    (handed_out,) = await scheduler.rows("claim_dispatch", limit=10)
    # Its process was quicker than the dispatcher, and a pause quicker than both.
    await scheduler.call("set_maintenance", paused=True, reason=None, until=None, set_by="x", actor="x")
    assert (await scheduler.take(job, run))["decision"] == "wait"
    await scheduler.call("set_maintenance", paused=False, reason=None, until=None, set_by="x", actor="x")
    record = {"id": job, "flow_run_id": run, "dispatches": handed_out["dispatches"] or 0}
    assert await scheduler.call("record_dispatch", **record) == "pending"
    assert (await scheduler.row(job))["flow_run_id"] is None, "Prefect calls that run Cancelled, and the job is not"
    assert await dispatched(scheduler) == [job]


async def test_a_job_whose_run_was_deleted_is_dispatched_again(scheduler: Scheduler) -> None:
    job, run = await scheduler.accept(), uuid4()
    await dispatched(scheduler)
    await scheduler.call("record_dispatch", id=job, flow_run_id=run)
    assert await scheduler.call("forget_flow_run", id=job, flow_run_id=run)
    assert await dispatched(scheduler) == [job]


async def test_many_replicas_grant_one_slot(scheduler: Scheduler, another: Scheduler) -> None:
    for _ in range(20):
        await scheduler.accept()
    granted = await asyncio.gather(dispatched(scheduler), dispatched(another))
    assert sum(map(len, granted)) == 1


async def test_a_run_finds_its_row_by_the_job_id_in_its_key(scheduler: Scheduler) -> None:
    job = await scheduler.accept()
    assert await scheduler.adopt(idempotency_key=str(job)) == job
    assert await scheduler.adopt(idempotency_key=f"{job}/2") == job


async def test_a_run_finds_its_row_by_its_own_id(scheduler: Scheduler) -> None:
    job, run = await scheduler.accept(), uuid4()
    await scheduler.take(job, run)
    assert await scheduler.adopt(flow_run_id=run) == job


async def test_a_run_without_a_row_gets_one_with_its_own_id_once(scheduler: Scheduler) -> None:
    run = uuid4()
    key = "scheduled 1 2 2026-11-23"  # what Prefect gives a scheduled run
    assert await scheduler.adopt("schedule", flow_run_id=run, idempotency_key=key) == run
    assert await scheduler.adopt("schedule", flow_run_id=run, idempotency_key=key) == run
    row = await scheduler.row(run)
    assert (row["origin"], row["status"], row["started_by"]) == ("schedule", "pending", None)


async def test_a_run_does_not_take_the_row_of_another_type(scheduler: Scheduler) -> None:
    job = await scheduler.accept(job_type="weekly_digest", key=None)
    assert await scheduler.adopt(idempotency_key=str(job)) != job


async def test_a_schedule_that_finds_the_gate_held_is_skipped(scheduler: Scheduler) -> None:
    holder, _ = await scheduler.running()
    run = await scheduler.adopt("schedule")
    assert (await scheduler.take(run))["decision"] == "skip"
    row = await scheduler.row(run)
    assert (row["status"], row["error"]) == ("cancelled", f"skipped: job {holder} of this type had not ended")


async def test_a_run_from_prefect_that_finds_the_gate_held_waits_and_is_dispatched_later(scheduler: Scheduler) -> None:
    holder, fence = await scheduler.running()
    run = await scheduler.adopt("prefect")
    assert (await scheduler.take(run))["decision"] == "wait"
    row = await scheduler.row(run)
    assert (row["status"], row["flow_run_id"], row["dispatches"]) == ("pending", None, 1)
    assert await dispatched(scheduler) == []
    await scheduler.finish(holder, fence)
    assert await dispatched(scheduler) == [run]
    assert (await scheduler.take(run, uuid4()))["decision"] == "go"


async def test_a_run_that_ended_before_its_lease_ends_its_row(scheduler: Scheduler) -> None:
    job, run = await scheduler.accept(), uuid4()
    await scheduler.call("record_dispatch", id=job, flow_run_id=run)
    close = {"id": job, "flow_run_id": run, "status": "failed", "error": "it crashed"}
    assert not await scheduler.call("close_unstarted_job", **{**close, "flow_run_id": uuid4()})
    assert await scheduler.call("close_unstarted_job", **close)
    assert (await scheduler.row(job))["result"]["errors"] == ["it crashed"]


async def test_prefect_does_not_move_a_row_that_has_had_a_lease(scheduler: Scheduler) -> None:
    job, _ = await scheduler.running()
    assert not await scheduler.call("close_unstarted_job", id=job, flow_run_id=job, status="failed", error="no")
