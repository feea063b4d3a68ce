"""Prefect away, and Prefect used by hand."""

from __future__ import annotations

from typing import Any

from tests.e2e.harness import Admin, until


async def test_a_trigger_is_accepted_while_prefect_is_down_and_runs_once_when_it_is_back(admin: Admin) -> None:
    await admin.seed_bulk(3)
    await admin.stack.stop("prefect")
    accepted = await admin.trigger()
    assert accepted["status"] == "pending"

    async def reason() -> Any:
        return (await admin.job(accepted["id"]))["pendingReason"]

    assert "Prefect" in await until(reason, seconds=10, what="the job says what it waits for")
    await admin.stack.start("prefect")
    job = await admin.wait(accepted["id"])
    assert job["status"] == "completed"
    assert len(await admin.runs_of(job["id"])) == 1
    assert len(await admin.received("crawler")) == 3


async def test_a_run_started_by_hand_gets_its_row_and_obeys_the_gate(admin: Admin) -> None:
    await admin.seed_bulk(3)
    await admin.fault("crawler", "slow", seconds=12, times=1)
    holder = await admin.trigger()
    await admin.wait(holder["id"], "running")
    await admin.prefect("deployment", "run", "crawl_pending/crawl_pending", "--param", "max_items=2")

    async def by_hand() -> Any:
        return await admin.sql.fetchval("select id::text from public.scheduled_jobs where origin = 'prefect'")

    job_id = await until(by_hand, seconds=30, what="the run has its row")

    async def waits() -> Any:
        job = await admin.job(job_id)
        return job["pendingReason"] == f"waiting for job {holder['id']} to end" and job

    waiting = await until(waits, seconds=10, what="the run waits for the gate")
    assert (waiting["status"], waiting["startedBy"]) == ("pending", None)
    job = await admin.wait(job_id)
    assert (job["status"], job["origin"], job["parameters"]) == (
        "completed",
        "prefect",
        {"mode": "pending", "max_items": 2, "older_than_days": None, "ids": None},
    )
    assert job["startedAt"] >= (await admin.job(holder["id"]))["completedAt"]
    # The CLI had given it a name that means nothing.
    runs = await admin.runs_of(job_id)
    assert runs
    assert all(run["name"].startswith("crawl_pending 20") for run in runs)


async def test_a_run_that_cannot_start_ends_its_row_with_prefects_reason(admin: Admin) -> None:
    await admin.stack.stop("worker")
    accepted = await admin.trigger()

    async def dispatched() -> Any:
        return (await admin.job(accepted["id"]))["flowRunId"]

    run = await until(dispatched, seconds=10, what="the job has a flow run")
    await admin.prefect("flow-run", "cancel", run)
    job = await admin.wait(accepted["id"], seconds=30)
    assert job["status"] == "cancelled"


async def test_a_deleted_run_of_a_pending_job_is_dispatched_again(admin: Admin) -> None:
    await admin.stack.stop("worker")
    accepted = await admin.trigger()

    async def dispatched() -> Any:
        return (await admin.job(accepted["id"]))["flowRunId"]

    first = await until(dispatched, seconds=10, what="the job has a flow run")
    await admin.prefect("flow-run", "delete", first)

    async def again() -> Any:
        run = (await admin.job(accepted["id"]))["flowRunId"]
        return run and run != first

    await until(again, seconds=30, what="the job has another flow run")
    await admin.stack.start("worker")
    assert (await admin.wait(accepted["id"]))["status"] == "completed"
