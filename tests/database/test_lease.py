"""The lease: one holder at a time, dead after 90 s, and nothing recorded under an old fence."""

from __future__ import annotations

from uuid import uuid4

import asyncpg
import pytest

from tests.database.conftest import Scheduler


async def test_taking_a_job_makes_it_running_under_a_fence(scheduler: Scheduler) -> None:
    job = await scheduler.accept()
    run = uuid4()
    assert await scheduler.take(job, run) == {"decision": "go", "fence": 1, "reason": None}
    row = await scheduler.row(job)
    assert (row["status"], row["flow_run_id"], row["attempt"], row["slot_held"]) == ("running", run, 1, True)
    assert row["started_at"] is not None


async def test_a_living_lease_is_not_given_twice(scheduler: Scheduler) -> None:
    job, _ = await scheduler.running()
    assert (await scheduler.take(job))["decision"] == "taken"


async def test_a_process_that_did_not_hear_the_answer_takes_its_lease_again(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    assert await scheduler.take(job, worker="a worker") == {"decision": "go", "fence": fence + 1, "reason": None}


async def test_a_dead_lease_passes_to_the_same_run_under_a_higher_fence(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    await scheduler.age_lease(job, 91)
    assert (await scheduler.take(job))["fence"] == fence + 1
    assert await scheduler.call("beat_job", id=job, fence=fence) == "lost"
    assert not await scheduler.finish(job, fence)
    assert (await scheduler.row(job))["status"] == "running"


async def test_a_later_attempt_of_the_run_takes_the_lease_over(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    assert (await scheduler.take(job, attempt=2))["fence"] == fence + 1


async def test_an_earlier_attempt_never_takes_the_job_of_a_later_one(scheduler: Scheduler) -> None:
    run = await scheduler.adopt()
    await scheduler.finish(run, (await scheduler.take(run))["fence"], "failed")
    again = await scheduler.adopt(flow_run_id=run, attempt=2)
    await scheduler.take(again, run, attempt=2)
    await scheduler.age_lease(again, 91)
    # A process of the first attempt that was stopped before it began.
    assert (await scheduler.take(again, run, attempt=1, worker="a late one"))["decision"] == "taken"
    row = await scheduler.row(again)
    assert (row["status"], row["flow_run_id"], row["slot_held"]) == ("running", run, True)


async def test_another_run_never_takes_a_job(scheduler: Scheduler) -> None:
    job, _ = await scheduler.running()
    await scheduler.age_lease(job, 91)
    assert (await scheduler.take(job, uuid4()))["decision"] == "taken"


async def test_an_ended_job_is_not_taken(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    await scheduler.finish(job, fence)
    assert (await scheduler.take(job, attempt=2))["decision"] == "closed"


async def test_a_beat_renews_and_records_progress(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    await scheduler.age_lease(job, 60)
    progress = {"itemsProcessed": 2, "itemsTotal": 5, "phase": "crawling"}
    assert await scheduler.call("beat_job", id=job, fence=fence, progress=progress) == "go"
    row = await scheduler.row(job)
    assert row["progress"] == progress
    assert await scheduler.sweep_without_grace() == []


async def test_a_beat_is_told_to_stop_when_a_cancel_was_asked_for(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    await scheduler.connection.execute("update public.scheduled_jobs set cancel_requested_at = now()")
    assert await scheduler.call("beat_job", id=job, fence=fence) == "stop"


async def test_finishing_again_after_a_lost_answer_is_no_error(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    assert await scheduler.finish(job, fence)
    assert await scheduler.finish(job, fence)
    assert not await scheduler.finish(job, fence, "failed")
    row = await scheduler.row(job)
    assert (row["status"], row["slot_held"]) == ("completed", None)


@pytest.mark.parametrize("status", ["pending", "running", "done"])
async def test_a_job_ends_in_a_terminal_status_only(scheduler: Scheduler, status: str) -> None:
    job, fence = await scheduler.running()
    with pytest.raises(asyncpg.PostgresError, match="completed, failed or cancelled"):
        await scheduler.finish(job, fence, status)


async def test_a_row_never_leaves_a_terminal_status(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    await scheduler.finish(job, fence)
    for status in ("pending", "running", "failed", "cancelled"):
        with pytest.raises(asyncpg.PostgresError, match="has ended as completed"):
            await scheduler.connection.execute("update public.scheduled_jobs set status = $1", status)


async def test_a_running_row_never_becomes_pending(scheduler: Scheduler) -> None:
    await scheduler.running()
    with pytest.raises(asyncpg.PostgresError, match="cannot become pending"):
        await scheduler.connection.execute("update public.scheduled_jobs set status = 'pending'")


async def test_a_dead_lease_fails_the_job_and_says_so(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    await scheduler.call("beat_job", id=job, fence=fence, progress={"itemsProcessed": 7, "itemsTotal": 9, "phase": "x"})
    await scheduler.age_lease(job, 91)
    (reaped,) = await scheduler.sweep_without_grace()
    assert reaped["id"] == job
    row = await scheduler.row(job)
    assert (row["status"], row["slot_held"]) == ("failed", None)
    assert row["error"].startswith("lease lost: no sign of life from a worker since ")
    assert row["result"]["itemsProcessed"] == 7
    assert row["result"]["success"] is False


async def test_nothing_is_reaped_for_a_lease_after_a_gap_between_sweeps(scheduler: Scheduler) -> None:
    job, _ = await scheduler.running()
    await scheduler.age_lease(job, 200)
    await scheduler.sweeps_ran_just_now()
    await scheduler.connection.execute("update public.sweep_state set swept_at = now() - interval '1 minute'")
    assert await scheduler.rows("reap_dead_leases") == []
    assert await scheduler.rows("reap_dead_leases") == []
    await scheduler.connection.execute("update public.sweep_state set grace_until = now() - interval '1 second'")
    assert len(await scheduler.rows("reap_dead_leases")) == 1


async def test_a_row_left_running_by_the_earlier_scheduler_ends_after_six_hours(scheduler: Scheduler) -> None:
    await scheduler.connection.execute(
        "insert into public.scheduled_jobs (job_type, status, started_at) values"
        " ('crawl_pending', 'running', now() - interval '5 hours'),"
        " ('crawl_pending', 'running', now() - interval '7 hours')"
    )
    (reaped,) = await scheduler.sweep_without_grace()
    assert reaped["error"] == "left running by an earlier scheduler: no process holds it"


async def test_a_row_left_pending_by_the_earlier_scheduler_is_never_run(scheduler: Scheduler) -> None:
    await scheduler.connection.execute(
        "insert into public.scheduled_jobs (job_type, status, created_at) values"
        " ('crawl_pending', 'pending', now() - interval '7 hours'), ('crawl_pending', 'pending', now())"
    )
    assert await scheduler.rows("claim_dispatch", limit=10) == []
    (reaped,) = await scheduler.sweep_without_grace()
    assert reaped["error"] == "left pending by an earlier scheduler: no process holds it"


async def test_a_run_is_compared_with_its_row_until_the_two_agree(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    assert [row["id"] for row in await scheduler.rows("open_runs", limit=10)] == [job]
    await scheduler.finish(job, fence)
    await scheduler.connection.execute("select pg_sleep(1.2)")
    assert [row["id"] for row in await scheduler.rows("open_runs", limit=10)] == [job]
    await scheduler.call("close_run", id=job, flow_run_id=job)
    assert await scheduler.rows("open_runs", limit=10) == []


async def test_a_run_nobody_began_is_given_up_but_not_after_a_gap(scheduler: Scheduler) -> None:
    job = await scheduler.accept()
    await scheduler.call("record_dispatch", id=job, flow_run_id=job)
    given_up = {"id": job, "flow_run_id": job, "error": "never started"}
    await scheduler.sweeps_ran_just_now()
    await scheduler.connection.execute("update public.sweep_state set swept_at = now() - interval '1 minute'")
    assert not await scheduler.call("give_up_unstarted", **given_up)
    await scheduler.rows("reap_dead_leases")
    assert not await scheduler.call("give_up_unstarted", **given_up)
    await scheduler.sweeps_ran_just_now()
    assert await scheduler.call("give_up_unstarted", **given_up)
    row = await scheduler.row(job)
    assert (row["status"], row["died"], row["run_open"]) == ("failed", True, True)


async def test_two_sweeps_at_once_reap_once(scheduler: Scheduler, another: Scheduler) -> None:
    job, _ = await scheduler.running()
    await scheduler.age_lease(job, 91)
    await scheduler.sweeps_ran_just_now()
    async with scheduler.connection.transaction():
        assert len(await scheduler.rows("reap_dead_leases")) == 1
        assert await another.rows("reap_dead_leases") == []


async def test_every_change_leaves_an_event_in_order(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    await scheduler.call("beat_job", id=job, fence=fence, progress={"itemsProcessed": 1, "itemsTotal": 2, "phase": "x"})
    await scheduler.call("beat_job", id=job, fence=fence)  # A beat without news is no event.
    await scheduler.finish(job, fence)
    events = await scheduler.connection.fetch("select kind, data from public.job_events order by id")
    assert [(event["kind"], event["data"]["status"]) for event in events] == [
        ("accepted", "pending"),
        ("status", "running"),
        ("progress", "running"),
        ("status", "completed"),
    ]


async def test_updated_at_moves_with_every_change(scheduler: Scheduler) -> None:
    job, fence = await scheduler.running()
    seen = [(await scheduler.row(job))["updated_at"]]
    for _ in range(3):
        await scheduler.call("beat_job", id=job, fence=fence)
        seen.append((await scheduler.row(job))["updated_at"])
    assert seen == sorted(set(seen))


async def test_the_row_gets_the_runs_resolved_parameters(scheduler: Scheduler) -> None:
    job = await scheduler.accept(parameters={})
    await scheduler.call("take_job", id=job, flow_run_id=job, attempt=1, worker="w", parameters={"max_items": 1000})
    assert (await scheduler.row(job))["parameters"] == {"max_items": 1000}
