"""Processes that are killed, and those that kill themselves: alone, with their worker, at every stage of a start."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.chaos.checks import LEASE_SECONDS, RECOVERED, SILENT, follow, recovered, silent, undisturbed
from tests.chaos.ground import Ground
from tests.chaos.processes import Seen
from tests.chaos.registry import case
from tests.chaos.table import say
from tests.chaos.workers import Worker

ROUNDS = (7, 7, 6)
TOLD_SECONDS = 5.0
# In the middle of their work for longer than any kill waits, and soon done when they are tried again.
WORKING: tuple[tuple[str, dict[str, Any]], ...] = (
    ("steps", {"steps": 40, "hold_seconds": 0.3}),
    ("crawl", {}),
    ("c_hold", {"steps": 3}),
    ("steps", {"steps": 40, "hold_seconds": 0.3}),
    ("stubborn", {"steps": 3}),
    ("crawl", {}),
    ("sleep", {"steps": 3}),
)
STARTED_SECONDS = 60.0


@asynccontextmanager
async def victim(ground: Ground, lane: str) -> AsyncIterator[Worker]:
    """The only worker of a queue, to be killed; what is left of it goes with the block."""
    async with ground.lane(lane):
        worker = await ground.workers.start(lane)
        try:
            yield worker
        finally:
            if worker.is_running:
                await worker.stop()


async def all_running(ground: Ground, jobs: list[str]) -> None:
    await asyncio.gather(*(ground.rows.until(job, "running", seconds=STARTED_SECONDS) for job in jobs))


@case("flow-killed", ground="kills", seconds=420, lanes=("steady",))
async def flow_killed(ground: Ground) -> None:
    """Flow process SIGKILLed, its worker alive: failed within 5 s, for the right reason."""
    name = "flow killed, worker alive"
    ground.table.scenario(name, "from the kill to the row")
    chance = ground.chance("flow-killed")
    followed = []
    for count in ROUNDS:
        jobs = await ground.launch(WORKING[:count])
        await asyncio.gather(*(_kill_process(ground, job, chance.uniform(0, 4)) for job in jobs))
        followed += [
            asyncio.create_task(
                follow(ground, name, job, since=_killed_at[job], within=TOLD_SECONDS, reasons=("Killed (SIGKILL)",))
            )
            for job in jobs
        ]
    await asyncio.gather(*followed)


_killed_at: dict[str, float] = {}


async def _kill_process(ground: Ground, job: str, moment: float) -> None:
    await ground.rows.until(job, "running", seconds=STARTED_SECONDS)
    await asyncio.sleep(moment)
    os.kill(ground.rows.processes[job].pid, signal.SIGKILL)
    _killed_at[job] = time.monotonic()


@case("out-of-memory", ground="kills", seconds=420, lanes=("steady",))
async def out_of_memory(ground: Ground) -> None:
    """A run that needs more memory than its limit: failed within 5 s, and says so."""
    name = "flow out of memory, worker alive"
    ground.table.scenario(name, "from the kill to the row")
    followed = []
    for count in ROUNDS:
        jobs = await ground.launch([("memory", {"steps": number % 4}) for number in range(count)])
        await asyncio.gather(*(_follow_to_the_end(ground, job) for job in jobs))
        followed += [
            asyncio.create_task(
                follow(ground, name, job, since=_killed_at[job], within=TOLD_SECONDS, reasons=("Out of memory",))
            )
            for job in jobs
        ]
    await asyncio.gather(*followed)


async def _follow_to_the_end(ground: Ground, job: str) -> None:
    await ground.rows.until(job, "running", "failed", seconds=STARTED_SECONDS)
    process = ground.rows.processes.get(job)

    async def gone() -> bool:
        return process is None or not process.is_alive or job in ground.rows.ends

    await ground.until(gone, seconds=STARTED_SECONDS, what="the run has used up its memory", every=0.05)
    _killed_at[job] = time.monotonic()


@case("own-error", ground="kills", seconds=240)
async def own_error(ground: Ground) -> None:
    """A job that fails by its own error is not tried again."""
    name = "failed by its own error: not recovered"
    jobs = await ground.launch([("fail", {"steps": number}) for number in range(10)])

    async def stays_failed(job: str) -> float | None:
        end = await ground.rows.ended(job, seconds=90)
        assert (end.row["status"], end.row["died"], end.row["recover_at"]) == ("failed", None, None)
        assert end.row["error"] == "this job fails by its own error"
        await ground.agreed(end)
        await asyncio.sleep(45)
        assert job not in ground.rows.retries, "it was tried again"
        await silent(ground, job, on_the_wire=0)
        return None

    await asyncio.gather(*(ground.attempt(name, job, stays_failed(job)) for job in jobs))


@case("worker-killed", ground="kills", seconds=700)
async def worker_killed(ground: Ground) -> None:
    """Worker, fork server and flows SIGKILLed together: failed when the lease is over."""
    name = "worker and flow killed"
    ground.table.scenario(name, "from the kill to the row")
    chance = ground.chance("worker-killed")
    followed = []
    for count in ROUNDS:
        async with victim(ground, "low") as worker:
            jobs = await ground.launch(WORKING[:count], priority="LOW")
            await all_running(ground, jobs)
            await asyncio.sleep(chance.uniform(0, 4))
            # One may have done its work by now.
            jobs = [job for job in jobs if ground.rows.now[job]["status"] == "running"]
            killed_at = await worker.kill()
        say(f"{name}: {len(jobs)} jobs")
        followed += [
            asyncio.create_task(
                follow(ground, name, job, since=killed_at, within=LEASE_SECONDS, reasons=("lease lost: no sign of",))
            )
            for job in jobs
        ]
    await _worker_killed_while_it_starts_runs(ground, chance)
    await asyncio.gather(*followed)


async def _worker_killed_while_it_starts_runs(ground: Ground, chance: random.Random) -> None:
    async with victim(ground, "low") as worker:
        jobs = await ground.launch([("steps", {"steps": 8})] * ROUNDS[0], priority="LOW")
        await asyncio.sleep(chance.uniform(0, 1.5))
        killed_at = await worker.kill()
        stuck = {job for job in jobs if await _is_taken_on(ground, job)}
    followed = [asyncio.create_task(_somehow(ground, job, killed_at)) for job in jobs]
    # What the worker had not taken on is run by the next one.
    async with victim(ground, "low"):
        await ground.until(
            lambda: _all_over(ground, jobs, stuck), seconds=90, what="what the dead worker had left is done", every=0.5
        )
    await asyncio.gather(*followed)


async def _all_over(ground: Ground, jobs: list[str], stuck: set[str]) -> bool:
    """Whether each of the jobs has ended, has died, or had been taken on by the worker that was killed."""
    for job in jobs:
        row = ground.rows.now[job]
        if row["status"] == "running" and (process := ground.rows.processes.get(job)) and process.is_alive:
            return False
        if row["status"] == "pending" and job not in stuck:
            return False
    return True


async def _is_taken_on(ground: Ground, job: str) -> bool:
    """Whether a worker has taken the job's run on, and nobody has begun it."""
    row = ground.rows.now[job]
    state = await ground.prefect_state(row["flow_run_id"]) if row["flow_run_id"] else None
    return row["status"] == "pending" and state is not None and state[0] in ("PENDING", "RUNNING")


async def _somehow(ground: Ground, job: str, killed_at: float) -> None:
    """A job of the moment in which its worker was killed: done by its own run, or failed in time and done again."""
    name = "worker killed while it starts runs"

    async def ends() -> float | None:
        end = await ground.rows.ended(job, seconds=LEASE_SECONDS + 120)
        if end.row["status"] == "completed":
            return None
        assert end.row["died"], f"it is {end.row['status']}: {end.row['error']}"
        return end.at - killed_at

    await ground.attempt(name, job, ends())
    if job in ground.rows.ends and ground.rows.ends[job].row["died"]:
        await ground.attempt(RECOVERED, job, recovered(ground, job))
    if job in ground.rows.ends:
        await ground.attempt(SILENT, job, silent(ground, job))


@case("fork-server-killed", ground="kills", seconds=420)
async def fork_server_killed(ground: Ground) -> None:
    """Fork server SIGKILLed: runs in flight go on, those being forked are not lost."""
    chance = ground.chance("fork-server-killed")
    for count in ROUNDS:
        async with victim(ground, "low") as worker:
            jobs = await ground.launch([("steps", {"steps": 16})] * (count // 2), priority="LOW")
            await all_running(ground, jobs)
            in_flight = list(jobs)
            starting = asyncio.create_task(
                ground.launch([("steps", {"steps": 3})] * (count - count // 2), priority="LOW")
            )
            await asyncio.sleep(chance.uniform(0.2, 1.6))
            server = worker.fork_server
            assert server is not None
            os.kill(server.pid, signal.SIGKILL)
            killed_at = time.monotonic()
            jobs += await starting
            await asyncio.gather(
                *(
                    ground.attempt(
                        "fork server killed: runs in flight go on", job, undisturbed(ground, job, seconds=60)
                    )
                    for job in in_flight
                ),
                *(
                    ground.attempt(
                        "fork server killed: runs being forked are done",
                        job,
                        _done(ground, job, killed_at),
                    )
                    for job in jobs
                    if job not in in_flight
                ),
            )


async def _done(ground: Ground, job: str, since: float) -> float:
    """Done by its own run, or tried again and done; the seconds it took."""
    end = await ground.rows.ended(job, seconds=LEASE_SECONDS)
    if end.row["status"] != "completed":
        assert end.row["died"], f"it is {end.row['status']}: {end.row['error']}"
        await recovered(ground, job)
    await silent(ground, job)
    return time.monotonic() - since


@case("killed-before-beat", ground="kills", seconds=600)
async def killed_before_beat(ground: Ground) -> None:
    """Killed after the lease was taken and before the first beat, with the worker."""
    name = "killed before the first beat"
    ground.table.scenario(name, "from the kill to the row")
    chance = ground.chance("killed-before-beat")
    followed = []
    for count in ROUNDS:
        async with victim(ground, "low") as worker:
            jobs = await ground.launch([("sleep", {"steps": 1})] * count, priority="LOW")
            await asyncio.gather(*(_freeze_unbeaten(ground, job, chance.uniform(0, 1.5)) for job in jobs))
            killed_at = await worker.kill()
        for job in jobs:
            row = ground.rows.now[job]
            if row["locked_at"] != row["started_at"]:
                say(f"{name}: job {job} had beaten already; it counts as killed with its worker")
            followed.append(
                asyncio.create_task(
                    follow(
                        ground, name, job, since=killed_at, within=LEASE_SECONDS, reasons=("lease lost: no sign of",)
                    )
                )
            )
    await asyncio.gather(*followed)


async def _freeze_unbeaten(ground: Ground, job: str, moment: float) -> None:
    """Stops the process of a job soon after it has begun, so that all of a round are killed unbeaten together."""
    await ground.rows.until(job, "running", seconds=STARTED_SECONDS)
    await asyncio.sleep(moment)
    process: Seen = ground.rows.processes[job]
    process.send(signal.SIGSTOP)


@case("killed-while-pending", ground="kills", seconds=600)
async def killed_while_pending(ground: Ground) -> None:
    """Killed after the worker took the run on (Prefect says Pending) and before a process began it."""
    name = "killed while Pending"
    ground.table.scenario(name, "from the kill to the row")
    followed = []
    for count in ROUNDS:
        async with victim(ground, "low") as worker:
            server = worker.fork_server
            assert server is not None
            server.send(signal.SIGSTOP)
            jobs = await ground.launch(WORKING[:count], priority="LOW")
            await asyncio.gather(*(_pending_in_prefect(ground, job) for job in jobs))
            killed_at = await worker.kill()
        followed += [
            asyncio.create_task(
                follow(ground, name, job, since=killed_at, within=LEASE_SECONDS, reasons=("never started:",))
            )
            for job in jobs
        ]
    await asyncio.gather(*followed)


async def _pending_in_prefect(ground: Ground, job: str) -> None:
    async def is_pending() -> Any:
        row = ground.rows.now.get(job)
        run = row["flow_run_id"] if row else None
        state = await ground.prefect_state(run) if run else None
        return state is not None and state[0] == "PENDING"

    await ground.until(is_pending, seconds=25, what=f"Prefect's run of job {job} is Pending")
