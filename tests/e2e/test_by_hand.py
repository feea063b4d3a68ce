"""People act in Prefect too: the row tells the truth after each of their changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State, StateType
from prefect.states import AwaitingRetry

from tests.e2e.harness import Admin, until


@pytest.fixture
async def prefect(admin: Admin) -> AsyncIterator[PrefectClient]:
    wiring = admin.stack.wiring
    async with PrefectClient(wiring.url("prefect"), auth_string=wiring.prefect_auth_string) as client:
        yield client


async def running(admin: Admin, seconds: float = 20) -> tuple[str, Any]:
    """A job in the middle of its work, and its flow run."""
    await admin.seed_bulk(3)
    await admin.fault("crawler", "slow", seconds=seconds, times=1)
    job = await admin.wait((await admin.trigger())["id"], "running")
    await asyncio.sleep(0.5)
    return job["id"], (await admin.row(job["id"]))["flow_run_id"]


async def until_state(prefect: PrefectClient, run: Any, kind: StateType, seconds: float = 30) -> None:
    async def reached() -> Any:
        state = (await prefect.read_flow_run(run)).state
        return state is not None and state.type is kind

    await until(reached, seconds=seconds, what=f"the flow run is {kind.value}")


@pytest.mark.parametrize("kind", [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.PAUSED])
async def test_a_state_set_by_hand_on_a_running_job_is_put_right(
    admin: Admin, prefect: PrefectClient, kind: StateType
) -> None:
    job, run = await running(admin)
    await prefect.set_flow_run_state(run, State(type=kind), force=True)
    await until_state(prefect, run, StateType.RUNNING)
    assert (await admin.row(job))["status"] == "running"
    ended = await admin.wait(job)
    assert ended["status"] == "completed"
    await until_state(prefect, run, StateType.COMPLETED)
    audit = await admin.sql.fetch("select actor, outcome from public.scheduler_audit where action = 'change_state'")
    assert [tuple(row) for row in audit] == [("prefect", "put right")]


async def test_a_state_set_by_hand_on_an_ended_job_is_put_right(admin: Admin, prefect: PrefectClient) -> None:
    await admin.seed_bulk(1)
    job = await admin.wait((await admin.trigger())["id"])
    run = job["flowRunId"]
    await until_state(prefect, run, StateType.COMPLETED)

    async def agreed() -> Any:
        return (await admin.row(job["id"]))["run_open"] is False

    await until(agreed, seconds=30, what="row and run are seen to agree")
    for kind in (StateType.FAILED, StateType.RUNNING, StateType.CANCELLED):
        await prefect.set_flow_run_state(run, State(type=kind), force=True)
        await until_state(prefect, run, StateType.COMPLETED)
    assert (await admin.row(job["id"]))["status"] == "completed"


@pytest.mark.parametrize("kind", [StateType.CANCELLING, StateType.CANCELLED])
async def test_a_cancel_in_prefect_is_a_cancel_here(admin: Admin, prefect: PrefectClient, kind: StateType) -> None:
    job, run = await running(admin)
    await prefect.set_flow_run_state(run, State(type=kind), force=kind is StateType.CANCELLED)
    ended = await admin.wait(job, seconds=60)
    assert ended["status"] == "cancelled"
    assert ended["cancel"]["requestedBy"] == "prefect"
    assert ended["cancel"]["stoppedAt"] >= ended["cancel"]["requestedAt"]
    await until_state(prefect, run, StateType.CANCELLED)


async def test_a_run_that_is_retried_in_prefect_is_a_job_of_its_own(admin: Admin, prefect: PrefectClient) -> None:
    await admin.seed_bulk(1)
    first = await admin.wait((await admin.trigger())["id"])
    run = first["flowRunId"]
    await until_state(prefect, run, StateType.COMPLETED)

    async def agreed() -> Any:
        return (await admin.row(first["id"]))["run_open"] is False

    await until(agreed, seconds=30, what="row and run are seen to agree")
    await prefect.set_flow_run_state(run, AwaitingRetry(), force=True)

    async def again() -> Any:
        return await admin.sql.fetchval(
            "select id::text from public.scheduled_jobs where retry_of = $1 and status = 'completed'", first["id"]
        )

    second = await admin.job(await until(again, seconds=30, what="the retried run is a new job that completes"))
    assert (second["origin"], second["flowRunId"], second["retryOf"]) == ("prefect", run, first["id"])
    assert (await admin.row(second["id"]))["attempt"] == 2
    assert (await admin.job(first["id"]))["status"] == "completed"


async def test_a_deleted_run_of_a_running_job_leaves_the_job_to_its_lease(admin: Admin, prefect: PrefectClient) -> None:
    job, run = await running(admin, seconds=6)
    await prefect.delete_flow_run(run)
    assert (await admin.wait(job))["status"] == "completed"
