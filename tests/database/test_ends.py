"""Ends that a job does not write itself: cancel, a lease given up, a process that is gone; and what is tried again."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.database.conftest import Scheduler

PROGRESS = {"itemsProcessed": 7, "itemsTotal": 9, "phase": "x"}


async def cancel(scheduler: Scheduler, job: UUID) -> str:
    answer = await scheduler.call("cancel_job", id=job, by="somebody", actor="user_admin")
    outcome: str = answer["outcome"]
    return outcome


async def bury(scheduler: Scheduler, job: UUID, worker: str = "a worker", **more: Any) -> str | None:
    status: str | None = await scheduler.call("bury_job", flow_run_id=job, worker=worker, reason="killed", **more)
    return status


async def due(scheduler: Scheduler) -> list[dict[str, Any]]:
    """What is recovered once every recovery's time has come."""
    await scheduler.connection.execute(
        "update public.scheduled_jobs set recover_at = now() where recover_at is not null"
    )
    return await scheduler.rows("recover_dead_jobs", limit=10)


async def test_a_pending_job_is_cancelled_at_once_with_its_receipt(scheduler: Scheduler) -> None:
    job = await scheduler.accept()
    assert [await cancel(scheduler, job), await cancel(scheduler, job)] == ["cancelled", "already"]
    row = await scheduler.row(job)
    assert (row["status"], row["cancel_requested_by"], row["cancel_items_done"], row["cancel_safe_to_retry"]) == (
        "cancelled",
        "somebody",
        0,
        True,
    )
    assert row["cancel_stopped_at"] >= row["cancel_requested_at"]
    audit = await scheduler.connection.fetch("select actor, action, outcome from public.scheduler_audit order by id")
    assert [tuple(entry) for entry in audit[1:]] == [
        ("user_admin", "cancel", "cancelled"),
        ("user_admin", "cancel", "already"),
    ]


async def test_a_running_job_is_cancelled_when_its_process_is_gone_and_not_before(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    assert await cancel(scheduler, job) == "cancelling"
    assert await scheduler.call("beat_job", id=job, fence=fence, progress=PROGRESS) == "stop"
    assert await scheduler.call("give_up_lease", id=job, fence=fence, note="cancelled while running", seconds=30)
    assert (await scheduler.row(job))["status"] == "running"
    assert await bury(scheduler, job) == "cancelled"
    row = await scheduler.row(job)
    assert (row["status"], row["cancel_items_done"], row["died"], row["recover_at"]) == ("cancelled", 7, None, None)


async def test_a_job_that_ended_by_itself_is_not_cancelled(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    await cancel(scheduler, job)
    assert await scheduler.finish(job, fence)
    assert await cancel(scheduler, job) == "ended"
    assert (await scheduler.row(job))["cancel_stopped_at"] is None
    assert await cancel(scheduler, uuid4()) == "unknown"


async def test_a_lease_that_was_given_up_records_nothing_and_ends_in_time(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    assert await scheduler.call("give_up_lease", id=job, fence=fence, note="stopped", seconds=0.0)
    assert await scheduler.call("give_up_lease", id=job, fence=fence, note="stopped", seconds=0.0), "asked again"
    assert not await scheduler.finish(job, fence)
    assert await scheduler.call("beat_job", id=job, fence=fence) == "lost"
    # Also in the grace after an outage: the process has said that it is going.
    await scheduler.connection.execute(
        "insert into public.sweep_state (swept_at, grace_until) values (now(), now() + interval '90 seconds')"
    )
    (ended,) = await scheduler.rows("reap_dead_leases")
    assert (ended["status"], ended["error"], ended["died"]) == ("failed", "stopped", True)


async def test_a_lease_that_was_given_up_passes_to_the_next_attempt_at_once(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    await scheduler.call("give_up_lease", id=job, fence=fence, note="stopped: its process was told to end")
    assert (await scheduler.take(job, attempt=2))["decision"] == "go"
    row = await scheduler.row(job)
    assert (row["status"], row["lease_note"]) == ("running", None)
    assert await bury(scheduler, job) is None, "the process that is gone is not the one that has the job"


@pytest.mark.parametrize("worker", ["a worker", "another worker"])
async def test_only_the_process_that_has_the_job_can_be_its_death(scheduler: Scheduler, worker: str) -> None:
    job, _ = await scheduler.running()
    dead = await bury(scheduler, job, worker)
    assert (dead, (await scheduler.row(job))["status"]) == (
        ("failed", "failed") if worker == "a worker" else (None, "running")
    )


async def test_a_process_that_died_before_it_began_leaves_a_dead_job(scheduler: Scheduler) -> None:
    job, run = await scheduler.accept(), uuid4()
    await scheduler.call("record_dispatch", id=job, flow_run_id=run)
    assert await bury(scheduler, run, by_itself=True) == "pending", "it ended in good order: a pause, a held gate"
    assert await bury(scheduler, run) == "failed"
    assert (await scheduler.row(job))["recover_at"] is not None


async def test_the_late_death_of_an_earlier_attempt_is_none_of_the_next_job(scheduler: Scheduler) -> None:
    run, fence = await scheduler.running()
    await scheduler.finish(run, fence)
    again = await scheduler.adopt(flow_run_id=run, attempt=2)
    assert await bury(scheduler, run) is None, "the process that is gone had the first job of this run"
    assert (await scheduler.take(again, run, attempt=2))["decision"] == "go"


async def test_a_process_ended_for_a_cancel_in_prefect_leaves_a_cancelled_job(scheduler: Scheduler) -> None:
    job, _ = await scheduler.running()
    assert await bury(scheduler, job, cancelled=True) == "cancelled"
    assert (await scheduler.row(job))["cancel_requested_by"] == "prefect"


async def test_silence_since_the_doubt_is_what_buries(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    beaten_at = (await scheduler.row(job))["locked_at"]
    call = {"id": job, "flow_run_id": job, "reason": "crashed"}
    await scheduler.call("beat_job", id=job, fence=fence)
    assert not await scheduler.call("bury_silent_job", **call, locked_at=beaten_at)
    beaten_at = (await scheduler.row(job))["locked_at"]
    assert await scheduler.call("bury_silent_job", **call, locked_at=beaten_at)
    assert (await scheduler.row(job))["error"] == "crashed"


async def test_a_job_over_its_time_is_failed_and_no_death(scheduler: Scheduler) -> None:
    job, _ = await scheduler.running()
    await scheduler.connection.execute(
        "update public.scheduled_jobs set max_run_seconds = 600, started_at = now() - interval '630 seconds'"
    )
    assert await scheduler.sweep_without_grace() == [], "its process has 20 s to end itself"
    (order,) = await scheduler.rows("runs_to_end", flow_run_ids=[job, uuid4()])
    assert (order["flow_run_id"], order["reason"]) == (job, "ran longer than 00:10:00")
    await scheduler.connection.execute("update public.scheduled_jobs set started_at = now() - interval '12 minutes'")
    (ended,) = await scheduler.sweep_without_grace()
    assert (ended["status"], ended["error"], ended["died"], ended["recover_at"]) == (
        "failed",
        "ran longer than 00:10:00",
        None,
        None,
    )


async def test_a_process_that_fell_silent_in_time_is_not_over_it(scheduler: Scheduler) -> None:
    job, _ = await scheduler.running()
    await scheduler.connection.execute(
        "update public.scheduled_jobs set max_run_seconds = 600, started_at = now() - interval '670 seconds'"
    )
    await scheduler.age_lease(job, 80)
    assert await scheduler.sweep_without_grace() == [], "it may be frozen, and wake under its lease"
    await scheduler.age_lease(job, 91)
    (ended,) = await scheduler.sweep_without_grace()
    assert (ended["status"], ended["died"], ended["recover_at"] is not None) == ("failed", True, True)


async def test_a_worker_is_told_which_of_its_processes_must_end(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    assert await scheduler.rows("runs_to_end", flow_run_ids=[job]) == []
    await cancel(scheduler, job)
    assert await scheduler.rows("runs_to_end", flow_run_ids=[job]) == [], "its own way to stop comes first"
    await scheduler.connection.execute(
        "update public.scheduled_jobs set cancel_requested_at = now() - interval '11 seconds'"
    )
    assert [order["reason"] for order in await scheduler.rows("runs_to_end", flow_run_ids=[job])] == [
        "cancelled while running"
    ]
    await scheduler.finish(job, fence)
    assert await scheduler.rows("runs_to_end", flow_run_ids=[job]) == [], "it is telling Prefect of its end"


async def test_a_dead_job_is_tried_again_three_times_ever_later(scheduler: Scheduler) -> None:
    job, _ = await scheduler.running(priority="HIGH", parameters={"max_items": 5})
    waits = []
    for number in range(4):
        await bury(scheduler, job, "a worker")
        row = await scheduler.row(job)
        assert row["died"]
        if row["recover_at"] is None:
            break
        waits.append(round((row["recover_at"] - row["completed_at"]).total_seconds()))
        assert await scheduler.rows("recover_dead_jobs", limit=10) == [], "not before its time"
        (again,) = await due(scheduler)
        assert (again["origin"], again["retry_of"], again["recoveries"], again["priority"], again["parameters"]) == (
            "recovery",
            job,
            number + 1,
            "HIGH",
            {"max_items": 5},
        )
        job = again["id"]
        await scheduler.call("record_dispatch", id=job, flow_run_id=job)
        await scheduler.take(job, worker="a worker")
    assert waits == [30, 120, 600]


async def test_a_job_that_failed_by_itself_or_was_cancelled_is_not_tried_again(scheduler: Scheduler) -> None:
    failed, fence = await scheduler.running()
    await scheduler.finish(failed, fence, "failed", "its own error")
    cancelled, _ = await scheduler.running()
    await cancel(scheduler, cancelled)
    await bury(scheduler, cancelled)
    assert await due(scheduler) == []


async def test_types_that_are_not_recovered_stay_dead(scheduler: Scheduler) -> None:
    job, _ = await scheduler.running()
    await bury(scheduler, job)
    await scheduler.connection.execute("update public.scheduled_jobs set recover_at = now()")
    assert await scheduler.rows("recover_dead_jobs", limit=10, **{"not": ["crawl_pending"]}) == []
    assert await due(scheduler) == []


async def test_two_replicas_recover_once(scheduler: Scheduler, another: Scheduler) -> None:
    for key in range(5):
        job, _ = await scheduler.running(key=str(key))
        await bury(scheduler, job)
    await scheduler.connection.execute("update public.scheduled_jobs set recover_at = now()")
    both = await asyncio.gather(*(each.rows("recover_dead_jobs", limit=10) for each in (scheduler, another)))
    assert sorted(map(len, both))[1] <= 5
    assert sum(map(len, both)) + len(await scheduler.rows("recover_dead_jobs", limit=10)) == 5


async def test_a_retry_by_a_person_takes_the_place_of_a_recovery(scheduler: Scheduler) -> None:
    job, _ = await scheduler.running()
    await bury(scheduler, job)
    wanted = {"retry_of": str(job), "origin": "dashboard"}
    audit = {"actor": "user_admin", "action": "retry"}
    answer = await scheduler.call("accept_job", job=wanted, audit=audit)
    assert answer["outcome"] == "accepted"
    assert await due(scheduler) == []
    answer = await scheduler.call("accept_job", job=wanted, audit=audit)
    assert answer["outcome"] == "conflict"
    assert answer["reason"].startswith(f"job {job} has been retried already, as job ")


async def test_a_retry_of_a_type_that_is_no_more_is_refused(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running(job_type="moon_phase", key=None)
    await scheduler.finish(job, fence, "failed", "its own error")
    wanted = {"retry_of": str(job), "origin": "dashboard", "known_types": ["crawl_pending"]}
    answer = await scheduler.call("accept_job", job=wanted, audit={"actor": "user_admin", "action": "retry"})
    assert answer["reason"] == f"job {job} is of type moon_phase, which is not known any more"


async def test_a_row_left_running_by_the_published_scheduler_is_cancelled_at_once(scheduler: Scheduler) -> None:
    job = await scheduler.connection.fetchval(
        "insert into public.scheduled_jobs (job_type, status, started_at) values ('crawl_pending', 'running', now())"
        " returning id"
    )
    assert await cancel(scheduler, job) == "cancelled"
    assert (await scheduler.row(job))["error"].startswith("cancelled: left running by an earlier scheduler")
