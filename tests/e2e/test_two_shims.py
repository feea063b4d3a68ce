"""Two shims on one database and one Prefect are one: whichever is asked, and whichever dies."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from sandbox.process import Process
from sandbox.standins.people import ADMIN
from tests.e2e.harness import Admin, another_shim, forget_everything, until

TRIGGERS = 100
# Streams: an event has the same id on both, and a stream cut on one goes on at the other (tests/e2e/test_streams.py).


@dataclass
class Pair:
    """The stack's own shim and the other one; `asked` holds a client of each."""

    admin: Admin
    other: httpx.AsyncClient
    process: Process

    @property
    def both(self) -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
        return self.admin.http, self.other

    async def trigger(self, http: httpx.AsyncClient, key: str | None = None, **body: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return await http.post("/api/jobs/trigger", json={"jobType": "crawl_pending", **body}, headers=headers)

    async def jobs(self, number: int) -> list[str]:
        """So many jobs, in turn from each."""
        answers = await asyncio.gather(*(self.trigger(self.both[one % 2]) for one in range(number)))
        assert {answer.status_code for answer in answers} == {202}
        return [answer.json()["id"] for answer in answers]

    async def pause(self, http: httpx.AsyncClient, *, paused: bool = True) -> None:
        body = {"paused": True, "reason": "a test"} if paused else {"paused": False}
        (await http.put("/api/maintenance", json=body)).raise_for_status()

    async def dispatched(self, least: int) -> bool:
        count = "select count(*) from scheduled_jobs where flow_run_id is not null"
        return bool(await self.admin.sql.fetchval(count) >= least)


@pytest.fixture
async def pair(admin: Admin) -> AsyncIterator[Pair]:
    async with another_shim(admin.stack) as (address, process):
        headers = {"Authorization": admin.http.headers["authorization"]}
        async with httpx.AsyncClient(base_url=address, headers=headers, trust_env=False, timeout=20) as other:
            pair = Pair(admin, other, process)

            async def know() -> bool:
                answers = [await http.get("/api/job-types") for http in pair.both]
                types = [one for answer in answers for one in answer.raise_for_status().json()["jobTypes"]]
                return all(one["parameterSchema"] for one in types)

            await until(know, seconds=30, what="both know the parameters of the job types")
            yield pair


@pytest.fixture
async def idle(pair: Pair) -> AsyncIterator[Pair]:
    """The pair without a worker; what it dispatches is gone afterwards."""
    await pair.admin.stack.stop("worker")
    yield pair
    pair.process.send(signal.SIGKILL)
    await pair.process.exited.wait()
    if pair.admin.stack.is_running("shim"):
        await pair.admin.stack.stop("shim")
    await forget_everything(pair.admin.stack)


async def test_what_one_is_told_the_other_knows_at_once(pair: Pair) -> None:
    one, other = pair.both
    await pair.pause(one)
    assert (await other.get("/api/maintenance")).json() == (await one.get("/api/maintenance")).json()
    for first, second in ((one, other), (other, one)):
        accepted = (await pair.trigger(first)).json()
        seen = await second.get(f"/api/jobs/{accepted['id']}")
        assert (seen.status_code, seen.json()["status"]) == (200, "pending")
        assert (await second.get("/api/jobs?limit=1")).json()["jobs"][0]["id"] == accepted["id"]
        cancelled = await second.post(f"/api/jobs/{accepted['id']}/cancel")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
        assert (await first.get(f"/api/jobs/{accepted['id']}")).json() == cancelled.json()
        retried = await first.post(f"/api/jobs/{accepted['id']}/retry")
        assert (await second.post(f"/api/jobs/{accepted['id']}/retry")).status_code == 409
        assert (await second.get(f"/api/jobs/{retried.json()['id']}")).json()["retryOf"] == accepted["id"]


async def test_a_running_job_that_the_other_cancels_stops(pair: Pair) -> None:
    await pair.admin.seed_bulk(3)
    await pair.admin.fault("crawler", "slow", seconds=20, times=1)
    job_id = (await pair.trigger(pair.admin.http)).json()["id"]
    await pair.admin.wait(job_id, "running")
    assert (await pair.other.post(f"/api/jobs/{job_id}/cancel")).status_code == 202
    assert (await pair.admin.wait(job_id, seconds=40))["status"] == "cancelled"


async def test_one_key_at_both_in_the_same_instant_is_one_job(pair: Pair) -> None:
    one, other = pair.both
    await pair.pause(one)
    for _ in range(10):
        key = str(uuid4())
        answers = await asyncio.gather(*(pair.trigger(http, key) for http in (one, other, one, other)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
        assert (await pair.trigger(other, key, priority="HIGH")).status_code == 422


async def test_a_cursor_of_one_leads_on_at_the_other(pair: Pair) -> None:
    one, other = pair.both
    await pair.pause(one)
    wanted = set(await pair.jobs(7))
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2, "status": "pending"}
    for http in (one, other, one, other):
        page = (await http.get("/api/jobs", params=query)).raise_for_status().json()
        seen += [job["id"] for job in page["jobs"]]
        query["cursor"] = page["nextCursor"]
    assert (len(seen), set(seen), query["cursor"]) == (len(wanted), wanted, None)


async def test_a_pause_at_one_holds_at_both_and_so_does_its_end(idle: Pair) -> None:
    one, other = idle.both
    await idle.pause(one)
    await idle.jobs(4)
    await asyncio.sleep(3)  # longer than a sweep
    assert not await idle.dispatched(1)
    await idle.pause(other, paused=False)
    await until(lambda: idle.dispatched(1), seconds=10, what="the first of them is dispatched")


async def test_each_job_is_dispatched_once_though_one_dies_while_it_dispatches(idle: Pair) -> None:
    await idle.pause(idle.other)
    ids = await idle.jobs(TRIGGERS)
    # As for jobs whose parameters are disjoint: without a gate to wait at, all are due at once.
    await idle.admin.sql.execute("update scheduled_jobs set exclusive_key = null where status = 'pending'")
    await idle.pause(idle.admin.http, paused=False)
    await until(lambda: idle.dispatched(TRIGGERS // 4), seconds=60, what="a quarter is dispatched")
    await idle.admin.stack.kill("shim")
    assert not await idle.dispatched(TRIGGERS), "it was killed too late"
    await until(lambda: idle.dispatched(TRIGGERS), seconds=60, what="the other dispatches the rest")
    runs = await idle.admin.runs_by_key()
    assert {job_id: runs[job_id] for job_id in ids} == dict.fromkeys(ids, 1)


async def test_two_reconcilers_repair_once(pair: Pair) -> None:
    """A job that died has one recovery; a run that somebody started has one row and one entry in the audit."""
    admin = pair.admin
    await admin.seed_bulk(3)
    await admin.fault("crawler", "slow", seconds=20, times=1)
    job_id = (await pair.trigger(pair.other)).json()["id"]
    await admin.wait(job_id, "running")
    os.kill(int((await admin.row(job_id))["locked_by"].rpartition("/")[2]), signal.SIGKILL)
    assert (await admin.wait(job_id))["status"] == "failed"

    async def recovered() -> Any:
        return await admin.sql.fetch("select id::text, origin, status from scheduled_jobs where retry_of = $1", job_id)

    await until(recovered, seconds=60, what="a job in its place")
    await admin.prefect("deployment", "run", "recalculate_trending/recalculate_trending")

    async def by_hand() -> Any:
        return await admin.sql.fetch("select id from scheduled_jobs where origin = 'prefect' and status = 'completed'")

    await until(by_hand, seconds=60, what="the run started by hand has its row")
    await admin.wait((await recovered())[0][0])
    await asyncio.sleep(5)  # both have looked again
    assert [(row[1], row[2]) for row in await recovered()] == [("recovery", "completed")]
    assert len(await by_hand()) == 1
    audit = await admin.sql.fetch(
        "select action, count(*) from scheduler_audit where actor <> $1 group by 1", ADMIN.clerk_user_id
    )
    assert all(row[1] == 1 for row in audit), [tuple(row) for row in audit]
    runs = await admin.runs_by_key()
    assert runs[job_id] == 1
