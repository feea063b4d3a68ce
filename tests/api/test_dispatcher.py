"""Dispatch: every accepted job gets exactly one flow run, whatever Prefect and the replicas do."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.conftest import MakeShim, Shim
from tests.conftest import Connection


async def dispatch(shim: Shim) -> None:
    """One turn of the dispatcher, to its end."""
    await shim.runtime.dispatcher.dispatch_due()
    await shim.runtime.dispatcher.settled()


async def the_row(sql: Connection) -> Any:
    (row,) = await sql.fetch("select * from scheduled_jobs")
    return row


async def due_again(sql: Connection) -> None:
    await sql.execute("update scheduled_jobs set dispatch_after = null")


async def test_a_job_becomes_a_run_with_the_jobs_id_as_its_key(shim: Shim, sql: Connection) -> None:
    job_id = (await shim.trigger({"jobType": "crawl_pending", "priority": "HIGH"})).json()["id"]
    await dispatch(shim)
    run = shim.prefect.created[job_id]
    assert run["work_queue_name"] == "high"
    assert run["parameters"] == {"max_items": 1000, "mode": "stale"}
    assert run["tags"] == ["crawl_pending", "dashboard"]
    assert run["name"].startswith("crawl_pending 20")
    row = await the_row(sql)
    assert (str(row["flow_run_id"]), row["pending_reason"]) == (run["id"], "waiting for a worker")


async def test_the_answer_does_not_wait_for_prefect(make_shim: MakeShim) -> None:
    async with make_shim() as shim:
        shim.prefect.hanging = True
        async with shim.runtime.running_loops():
            answer = await asyncio.wait_for(shim.trigger(), 2)
        assert answer.status_code == 202


async def test_a_trigger_is_dispatched_at_once(make_shim: MakeShim) -> None:
    async with make_shim(sweep_seconds=10) as shim, shim.runtime.running_loops():
        await asyncio.sleep(0.3)  # the first sweep is over, the second is far away
        job_id = (await shim.trigger()).json()["id"]
        async with asyncio.timeout(3):
            await shim.prefect.creation.wait()
        assert list(shim.prefect.created) == [job_id]


async def test_while_prefect_is_down_the_job_stays_pending_and_says_why(shim: Shim, sql: Connection) -> None:
    shim.prefect.down = True
    await shim.trigger()
    await dispatch(shim)
    row = await the_row(sql)
    assert (row["status"], row["flow_run_id"]) == ("pending", None)
    assert row["pending_reason"] == "Prefect cannot be reached (to create a run: ConnectError)"
    wait = await sql.fetchval("select extract(epoch from dispatch_after - now())::float from scheduled_jobs")
    assert 1 < wait <= 5
    shim.prefect.down = False
    await due_again(sql)
    await dispatch(shim)
    assert (await the_row(sql))["flow_run_id"] is not None
    assert len(shim.prefect.created) == 1


async def test_a_type_that_is_not_deployed_waits(shim: Shim, sql: Connection) -> None:
    await shim.trigger()
    shim.prefect.deployed = False
    await dispatch(shim)
    row = await the_row(sql)
    assert row["status"] == "pending"
    assert row["pending_reason"] == "crawl_pending is not deployed in Prefect"
    shim.prefect.deployed = True
    await due_again(sql)
    await dispatch(shim)
    assert len(shim.prefect.created) == 1


async def test_a_deployment_that_was_made_anew_is_found(shim: Shim, sql: Connection) -> None:
    await shim.trigger()
    await dispatch(shim)
    await sql.execute("update scheduled_jobs set status = 'cancelled'")
    shim.prefect.new_deployment()
    await shim.trigger()
    await dispatch(shim)
    assert len(shim.prefect.created) == 2


@pytest.mark.parametrize("status", [409, 422])
async def test_what_prefect_will_never_take_fails_with_its_reason(shim: Shim, sql: Connection, status: int) -> None:
    await shim.trigger()
    shim.prefect.refusal = httpx.Response(status, json={"detail": "max_items: ada@example.com is not an integer"})
    await dispatch(shim)
    row = await the_row(sql)
    assert row["status"] == "failed"
    assert row["error"] == f"Prefect refused to create a run ({status}): max_items: <address> is not an integer"


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_what_may_pass_is_tried_again(shim: Shim, sql: Connection, status: int) -> None:
    await shim.trigger()
    shim.prefect.refusal = httpx.Response(status, json={})
    await dispatch(shim)
    row = await the_row(sql)
    assert (row["status"], row["pending_reason"]) == ("pending", f"Prefect answered {status} (to create a run)")


async def test_something_else_at_prefects_address_is_an_outage(shim: Shim, sql: Connection) -> None:
    await shim.trigger()
    shim.prefect.refusal = httpx.Response(200, text="<html>")
    await dispatch(shim)
    assert (await the_row(sql))["status"] == "pending"


async def test_a_job_that_was_cancelled_meanwhile_has_its_run_cancelled(shim: Shim, sql: Connection) -> None:
    job_id = (await shim.trigger()).json()["id"]
    (job,) = await shim.claimed()
    await sql.execute("update scheduled_jobs set status = 'cancelled'")
    await shim.runtime.dispatcher.dispatch(job)
    assert shim.prefect.cancelled == [shim.prefect.created[job_id]["id"]]


async def test_a_replica_that_died_before_it_noted_the_run_leaves_one_run(shim: Shim, sql: Connection) -> None:
    job_id = (await shim.trigger()).json()["id"]
    (job,) = await shim.claimed()
    await shim.runtime.orchestrator.create_run(job)  # and here it dies
    await due_again(sql)
    await dispatch(shim)
    assert list(shim.prefect.created) == [job_id]
    assert str((await the_row(sql))["flow_run_id"]) == shim.prefect.created[job_id]["id"]


async def test_replicas_dispatch_each_job_once(make_shim: MakeShim, sql: Connection) -> None:
    async with make_shim() as one, make_shim() as other:
        await sql.execute(
            "insert into scheduled_jobs (job_type, origin, priority)"
            " select 'crawl_pending', 'dashboard', 'LOW' from generate_series(1, 40)"
        )
        await asyncio.gather(dispatch(one), dispatch(other))
        assert one.prefect.creations + other.prefect.creations == 40
    assert await sql.fetchval("select count(*) from scheduled_jobs where flow_run_id is null") == 0


async def test_one_job_of_a_type_is_dispatched_at_a_time_the_most_urgent_first(shim: Shim, sql: Connection) -> None:
    low, high = [
        (await shim.trigger({"jobType": "crawl_pending", "priority": p})).json()["id"] for p in ("LOW", "HIGH")
    ]
    await dispatch(shim)
    assert list(shim.prefect.created) == [high]
    assert (await shim.get(f"/api/jobs/{low}")).json()["pendingReason"] == f"waiting for job {high} to end"
    await sql.execute("update scheduled_jobs set status = 'completed' where id = $1", high)
    await dispatch(shim)
    assert list(shim.prefect.created) == [high, low]


async def test_the_loop_goes_on_through_an_outage_of_the_database(
    make_shim: MakeShim, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    async with make_shim(catalogue=False, sweep_seconds=0.1) as shim, shim.runtime.running_loops():
        await asyncio.sleep(0.6)
    told = [record.message for record in caplog.records if record.name == "api.dispatcher"]
    assert told == ["dispatch: the database cannot be reached (claim_dispatch: ConnectError)"]
