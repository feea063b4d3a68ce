"""A run that is the one process of its pod, as the cluster's job template starts it, and what SIGTERM makes of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from sandbox.parts import dying_with_us
from sandbox.process import Process
from sandbox.state import REPOSITORY
from tests.e2e.harness import Admin, Job, until

TERMINATED = 143


@pytest.fixture
async def no_worker(admin: Admin) -> AsyncIterator[Admin]:
    """Nobody takes what is dispatched but the test, which starts it as Kubernetes would."""
    await admin.stack.stop("worker")
    yield admin
    if not admin.stack.is_running("worker"):
        await admin.stack.start("worker")


async def dispatched(admin: Admin) -> tuple[Job, str]:
    """A new job and its flow run, which the cluster's worker has taken on."""
    job = await admin.trigger()

    async def run_of_it() -> Any:
        return await admin.sql.fetchval("select flow_run_id::text from scheduled_jobs where id = $1", job["id"])

    flow_run: str = await until(run_of_it, seconds=20, what="the job is dispatched")
    await prefect(admin, "POST", f"flow_runs/{flow_run}/set_state", {"state": {"type": "PENDING"}})
    return job, flow_run


async def prefect(admin: Admin, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    async with httpx.AsyncClient(trust_env=False, headers=admin.stack.wiring.prefect_headers) as http:
        answer = await http.request(method, f"{admin.stack.wiring.url('prefect')}/{path}", json=body)
        return answer.raise_for_status().json()


def pod(admin: Admin, flow_run: str) -> Process:
    """The pod's process, with the stack's environment and a log of its own."""
    wiring = admin.stack.wiring
    environment = wiring.base_environment() | wiring.flow_environment() | {"PREFECT__FLOW_RUN_ID": flow_run}
    command = dying_with_us([sys.executable, "-m", "worker.pod"])
    return Process(command, env=environment, log=admin.stack.state.log("pod"), cwd=REPOSITORY)


async def state_of(admin: Admin, flow_run: str) -> str:
    name: str = (await prefect(admin, "GET", f"flow_runs/{flow_run}"))["state"]["name"]
    return name


async def test_a_run_told_to_end_in_the_middle_goes_on_in_another_pod(no_worker: Admin) -> None:
    admin = no_worker
    await admin.seed_bulk(20)
    await admin.fault("crawler", "slow", seconds=20, times=1)
    job, flow_run = await dispatched(admin)
    process = pod(admin, flow_run)
    await admin.wait(job["id"], "running")
    await asyncio.sleep(1)
    process.send(signal.SIGTERM)
    assert await process.wait(20)
    assert process.status == "exit status 0"
    assert await state_of(admin, flow_run) == "AwaitingRetry"
    assert (await admin.job(job["id"]))["status"] == "running"
    await admin.stack.start("worker")
    ended = await admin.wait(job["id"], seconds=90)
    assert (ended["status"], ended["error"]) == ("completed", None)
    assert (await admin.row(job["id"]))["attempt"] == 2
    assert await admin.crawl_statuses() == {"completed": 20}


async def test_a_run_told_to_end_before_it_has_begun_begins_in_another_pod(no_worker: Admin) -> None:
    admin = no_worker
    await admin.seed_bulk(3)
    job, flow_run = await dispatched(admin)
    process = pod(admin, flow_run)
    await until(lambda: has_a_handler(process), seconds=20, what="SIGTERM is waited for")
    process.send(signal.SIGTERM)
    assert await process.wait(40)
    assert process.status == "exit status 0"
    assert await state_of(admin, flow_run) == "AwaitingRetry"
    assert await admin.received("crawler") == []
    again = pod(admin, flow_run)
    assert (await admin.wait(job["id"]))["status"] == "completed"
    assert await again.wait(20)
    assert again.status == "exit status 0"


async def has_a_handler(process: Process) -> bool:
    """Whether the process catches SIGTERM; Python does so by itself for SIGINT alone."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:  # noqa: ASYNC230, PTH123
        caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


async def test_a_run_told_to_end_while_prefect_is_away_fails_its_pod(no_worker: Admin) -> None:
    admin = no_worker
    await admin.seed_bulk(5)
    await admin.fault("crawler", "slow", seconds=30, times=1)
    job, flow_run = await dispatched(admin)
    process = pod(admin, flow_run)
    await admin.wait(job["id"], "running")
    await asyncio.sleep(1)
    await admin.stack.kill("prefect")
    process.send(signal.SIGTERM)
    assert await process.wait(40)
    assert process.status == f"exit status {TERMINATED}"
    await admin.stack.start("prefect")


def test_a_pod_without_a_flow_run_says_what_is_missing() -> None:
    # In a process of its own: the module takes the process over.
    import subprocess

    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT__")}
    done = subprocess.run(
        [sys.executable, "-m", "worker.pod"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (1, "PREFECT__FLOW_RUN_ID must be the id of a flow run.")
