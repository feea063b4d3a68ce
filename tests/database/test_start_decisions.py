"""What a run decides before any effect: disabled, superseded, paused, skipped; and whose row a continued run has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from tests.database.conftest import Scheduler

HOUR = timedelta(hours=1)


async def pause(scheduler: Scheduler, *, paused: bool = True, until: datetime | None = None) -> None:
    await scheduler.connection.execute(
        "select public.set_maintenance($1, 'a new index', $2, 'someone', 'user_admin')", paused, until
    )


async def later_fire(scheduler: Scheduler, run: UUID) -> dict[str, Any]:
    answer: dict[str, Any] = await scheduler.call(
        "take_job",
        id=run,
        flow_run_id=run,
        attempt=1,
        worker="w",
        parameters=None,
        max_run_seconds=60,
        later_fire_at=datetime(2026, 11, 26, 9, tzinfo=UTC),
    )
    return answer


async def test_a_schedule_that_is_switched_off_has_no_effect(scheduler: Scheduler) -> None:
    await scheduler.connection.execute(
        "insert into public.schedule_overrides (job_type, enabled) values ('crawl_pending', false)"
    )
    try:
        run, by_hand = await scheduler.adopt("schedule"), await scheduler.adopt("prefect")
        assert (await scheduler.take(run))["decision"] == "skip"
        row = await scheduler.row(run)
        assert (row["status"], row["error"], row["started_at"]) == (
            "cancelled",
            "disabled: the schedule is switched off",
            None,
        )
        assert (await scheduler.take(by_hand))["decision"] == "go", "a person may start it all the same"
    finally:
        await scheduler.connection.execute("delete from public.schedule_overrides")


async def test_a_fire_gives_way_to_a_later_one_that_is_due(scheduler: Scheduler) -> None:
    run = await scheduler.adopt("schedule")
    assert (await later_fire(scheduler, run))["decision"] == "skip"
    row = await scheduler.row(run)
    assert row["status"] == "cancelled"
    assert row["error"] == "superseded: a later fire of this schedule, 2026-11-26T09:00:00Z, is due as well"
    assert row["result"]["details"] == {"superseded": True}


async def test_a_pause_lets_jobs_wait_and_sends_them_on_under_their_own_id(scheduler: Scheduler) -> None:
    waiting, run = await scheduler.accept(), await scheduler.adopt("prefect")
    await pause(scheduler)
    assert await scheduler.rows("claim_dispatch", limit=10) == []
    assert (await scheduler.take(run)) == {"decision": "wait", "fence": None, "reason": "paused: a new index"}
    for job in (waiting, run):
        row = await scheduler.row(job)
        assert (row["status"], row["pending_reason"], row["flow_run_id"]) == ("pending", "paused: a new index", None)
    await pause(scheduler, paused=False)
    assert [row["id"] for row in await scheduler.rows("claim_dispatch", limit=10)] == [waiting]
    await scheduler.finish(waiting, (await scheduler.take(waiting))["fence"])
    (again,) = await scheduler.rows("claim_dispatch", limit=10)
    assert (again["id"], again["dispatches"]) == (run, 1)


async def test_a_pause_ends_by_itself(scheduler: Scheduler) -> None:
    await pause(scheduler, until=datetime.now(UTC) + HOUR)
    job = await scheduler.accept()
    assert await scheduler.rows("claim_dispatch", limit=10) == []
    await pause(scheduler, until=datetime.now(UTC) - timedelta(seconds=1))
    assert [row["id"] for row in await scheduler.rows("claim_dispatch", limit=10)] == [job]


async def test_of_the_fires_in_a_pause_only_the_latest_runs_after_it(scheduler: Scheduler) -> None:
    await pause(scheduler)
    start = datetime.now(UTC) - HOUR
    runs = [
        await scheduler.adopt("schedule", scheduled_at=start + number * timedelta(minutes=15)) for number in range(3)
    ]
    by_hand = await scheduler.adopt("prefect")
    for run in (*runs, by_hand):
        assert (await scheduler.take(run))["decision"] == "wait"
    await pause(scheduler, paused=False)
    statuses = [(await scheduler.row(run))["status"] for run in (*runs, by_hand)]
    assert statuses == ["cancelled", "cancelled", "pending", "pending"]
    assert (await scheduler.row(runs[0]))["error"].startswith("superseded: ")


async def test_a_pause_does_not_stop_a_running_job_or_its_next_attempt(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    await pause(scheduler)
    assert await scheduler.call("beat_job", id=job, fence=fence) == "go"
    assert (await scheduler.take(job, attempt=2))["decision"] == "go"
    await pause(scheduler, paused=False)


async def test_a_run_set_going_again_after_its_end_is_a_job_of_its_own(scheduler: Scheduler) -> None:
    run = await scheduler.adopt()
    await scheduler.finish(run, (await scheduler.take(run))["fence"])
    assert await scheduler.adopt(flow_run_id=run, attempt=1) == run, "the same attempt asks again"
    again = await scheduler.adopt(flow_run_id=run, attempt=2)
    assert again != run
    assert await scheduler.adopt(flow_run_id=run, attempt=2) == again
    row = await scheduler.row(again)
    assert (row["origin"], row["retry_of"], row["flow_run_id"], row["attempt"]) == ("prefect", run, run, 2)
    assert (await scheduler.take(again, run, attempt=2))["decision"] == "go"


async def test_a_run_whose_job_was_closed_before_it_began_finds_it_closed(scheduler: Scheduler) -> None:
    job, run = await scheduler.accept(), uuid4()
    await scheduler.call("record_dispatch", id=job, flow_run_id=run)
    await scheduler.call("cancel_job", id=job, by="somebody", actor="user_admin")
    assert await scheduler.adopt(flow_run_id=run, idempotency_key=str(job), attempt=1) == job
    assert (await scheduler.take(job, run))["decision"] == "closed"
    # Once Prefect and the row agree that it ended, whoever starts it again means it.
    await scheduler.call("close_run", id=job, flow_run_id=run)
    assert await scheduler.adopt(flow_run_id=run, idempotency_key=str(job), attempt=1) != job


async def test_a_retry_by_hand_takes_the_place_of_a_recovery(scheduler: Scheduler) -> None:
    job, _ = await scheduler.running()
    await scheduler.call("bury_job", flow_run_id=job, worker="a worker", reason="killed")
    assert (await scheduler.row(job))["recover_at"] is not None
    await scheduler.adopt(flow_run_id=job, attempt=2)
    assert (await scheduler.row(job))["recover_at"] is None
