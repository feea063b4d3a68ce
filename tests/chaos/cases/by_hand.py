"""People act in Prefect, through its API and its command line: the row tells the truth after each of their changes."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State, StateType

from tests.chaos.cases.cancels import STOPPED_SECONDS
from tests.chaos.checks import silent, undisturbed
from tests.chaos.ground import AGREE_SECONDS, TYPE, Ground
from tests.chaos.registry import case
from tests.chaos.rows import End

_NAME = "in Prefect by hand: {}"
_ROW_SECONDS = 30.0
# A running job is in its work for long enough to be meddled with, and ends by itself.
_WORK: dict[str, Any] = {"steps": 30, "step_seconds": 0.5}
_STATES = (
    StateType.COMPLETED,
    StateType.FAILED,
    StateType.CRASHED,
    StateType.CANCELLED,
    StateType.RUNNING,
    StateType.SCHEDULED,
)
_RUN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@case(
    "by-hand",
    ground="kills",
    seconds=480,
    lanes=("steady",),
    after=("cancels", "flow-killed", "out-of-memory", "own-error", "worker-killed", "killed-before-beat", "frozen"),
)
async def by_hand(ground: Ground) -> None:
    """Start, cancel, delete, retry and set states in Prefect, on runs that wait, run and have ended."""
    await asyncio.gather(
        _count(ground, "start", _started(ground)),
        _count(ground, "delete a running run", _deleted_running(ground)),
        _count(ground, "cancel a running run", _cancelled_running(ground)),
        _waiting_runs(ground),
        _set_on_running(ground),
        _set_on_ended(ground),
    )


async def _count(ground: Ground, what: str, run: Any) -> None:
    await ground.attempt(_NAME.format(what), None, run)


async def _new(ground: Ground, **more: Any) -> tuple[str, UUID]:
    """A job in the middle of its work, and its flow run."""
    job = await ground.trigger("steps", **{**_WORK, **more})
    row = await ground.rows.until(job, "running", seconds=60)
    await asyncio.sleep(1)
    return job, row["flow_run_id"]


async def _done(ground: Ground) -> tuple[str, UUID]:
    """A job that has ended, and its flow run, seen to agree."""
    job = await ground.trigger("steps")
    end = await ground.rows.ended(job, seconds=60)
    assert end.row["status"] == "completed", end.row["error"]

    async def agreed() -> Any:
        return await ground.value("select run_open is false from public.scheduled_jobs where id = $1", job)

    await ground.until(agreed, seconds=15, what="row and run are seen to agree")
    return job, end.row["flow_run_id"]


async def _set(ground: Ground, run: UUID, kind: StateType, name: str | None = None) -> float:
    async with ground.prefect() as client:
        await client.set_flow_run_state(run, State(type=kind, name=name), force=True)
    return time.monotonic()


async def _is(ground: Ground, run: UUID, *kinds: str, since: float) -> float:
    """Prefect's run is of these types again, in time; the seconds it took."""

    async def reached() -> Any:
        state = await ground.prefect_state(run)
        return state is not None and state[0] in kinds

    seconds = since + AGREE_SECONDS - time.monotonic()
    await ground.until(reached, seconds=seconds, what=f"the flow run is {kinds} again")
    return time.monotonic() - since


async def _started(ground: Ground) -> float:
    """`prefect deployment run`: the run gets its row, and is audited."""
    began = time.monotonic()
    parameters = [f"key={ground.new_key()}", "steps=2"]
    printed = await ground.prefect_cli(
        "deployment", "run", f"{TYPE}/{TYPE}", *(word for each in parameters for word in ("--param", each))
    )
    found = _RUN_ID.search(printed)
    assert found, printed
    row_of = "select id::text from public.scheduled_jobs where flow_run_id = $1"
    job = await ground.until(
        lambda: ground.value(row_of, found.group()), seconds=_ROW_SECONDS, what="the run has its row"
    )
    end = await ground.rows.ended(job, seconds=60)
    assert (end.row["origin"], end.row["status"], end.row["started_by"]) == ("prefect", "completed", None), end.row
    audited = (
        "select count(*) from public.scheduler_audit where job_id = $1 and actor = 'prefect' and action = 'trigger'"
    )
    assert await ground.value(audited, job) == 1
    await ground.agreed(end)
    return end.at - began


async def _deleted_running(ground: Ground) -> None:
    """Of a running job whose run is deleted the lease decides: it goes on."""
    job, run = await _new(ground)
    await ground.prefect_cli("flow-run", "delete", str(run))
    await undisturbed(ground, job, seconds=90)


async def _cancelled_running(ground: Ground) -> float:
    job, run = await _new(ground, steps=200)
    began = time.monotonic()
    await ground.prefect_cli("flow-run", "cancel", str(run))
    end = await _cancelled(ground, job)
    return end.at - began


async def _cancelled(ground: Ground, job: str) -> End:
    end = await ground.rows.ended(job, seconds=2 * STOPPED_SECONDS)
    assert end.row["status"] == "cancelled", f"it is {end.row['status']}: {end.row['error']}"
    assert end.row["cancel_requested_by"] == "prefect"
    assert job not in ground.rows.lies, f"it was seen cancelled while {ground.rows.lies[job]}"
    await ground.agreed(end)
    await asyncio.sleep(1)
    await silent(ground, job)
    return end


async def _waiting_runs(ground: Ground) -> None:
    """Cancel and delete runs that wait for a worker: there is none of their queue."""
    async with ground.lane("low"):
        jobs = await ground.launch([("steps", {"steps": 2})] * 4, priority="LOW")
        runs = [await _dispatched(ground, job) for job in jobs]
        await asyncio.gather(
            *(
                _count(ground, "cancel a pending run", _cancel_pending(ground, *pair))
                for pair in zip(jobs[:2], runs[:2], strict=True)
            ),
            *(
                _count(ground, "delete a pending run", _delete_pending(ground, *pair))
                for pair in zip(jobs[2:], runs[2:], strict=True)
            ),
        )
        worker = await ground.workers.start("low")
        await asyncio.gather(
            *(_count(ground, "delete a pending run", undisturbed(ground, job, seconds=60)) for job in jobs[2:])
        )
        await worker.stop()


async def _dispatched(ground: Ground, job: str) -> UUID:
    async def run() -> Any:
        return ground.rows.now[job]["flow_run_id"] if job in ground.rows.now else None

    found: UUID = await ground.until(run, seconds=20, what=f"job {job} has a flow run")
    return found


async def _cancel_pending(ground: Ground, job: str, run: UUID) -> float:
    began = time.monotonic()
    await ground.prefect_cli("flow-run", "cancel", str(run))
    end = await _cancelled(ground, job)
    return end.at - began


async def _delete_pending(ground: Ground, job: str, run: UUID) -> float:
    await ground.prefect_cli("flow-run", "delete", str(run))
    began = time.monotonic()

    async def again() -> Any:
        return ground.rows.now[job]["flow_run_id"] not in (run, None)

    await ground.until(again, seconds=_ROW_SECONDS, what="the job has another flow run")
    return time.monotonic() - began


async def _set_on_running(ground: Ground) -> None:
    """Each state set by hand on a run whose process works on."""

    async def one(kind: StateType) -> float | None:
        job, run = await _new(ground, **({"steps": 200} if kind is StateType.CANCELLED else {}))
        since = await _set(ground, run, kind)
        if kind is StateType.CANCELLED:
            await _cancelled(ground, job)
            return None
        took = await _is(ground, run, "RUNNING", since=since)
        await undisturbed(ground, job, seconds=90)
        return took

    await asyncio.gather(*(_count(ground, f"set {kind.value.title()} on a running run", one(kind)) for kind in _STATES))


async def _set_on_ended(ground: Ground) -> None:
    """Each state set by hand on a run that has ended; Scheduled is Prefect's Retry, and a job of its own."""

    async def one(kind: StateType) -> float:
        job, run = await _done(ground)
        since = await _set(ground, run, kind)
        if kind is StateType.COMPLETED:
            await asyncio.sleep(AGREE_SECONDS)
        took = await _is(ground, run, "COMPLETED", since=since) if kind is not StateType.COMPLETED else 0.0
        await silent(ground, job, on_the_wire=0)
        return took

    await asyncio.gather(
        *(_count(ground, f"set {kind.value.title()} on an ended run", one(kind)) for kind in _STATES[:-1]),
        _count(ground, "set Scheduled on an ended run", _retried(ground, by_cli=False)),
        _count(ground, "retry an ended run", _retried(ground, by_cli=True)),
    )


async def _retried(ground: Ground, *, by_cli: bool) -> float:
    job, run = await _done(ground)
    began = time.monotonic()
    if by_cli:
        await ground.prefect_cli("flow-run", "retry", str(run))
    else:
        await _set(ground, run, StateType.SCHEDULED, "AwaitingRetry")
    again = await ground.rows.retry_of(job, seconds=_ROW_SECONDS)
    end = await ground.rows.ended(again, seconds=60)
    row = end.row
    assert (row["origin"], row["flow_run_id"], row["status"]) == ("prefect", run, "completed"), row
    assert row["attempt"] > ground.rows.now[job]["attempt"]
    await ground.agreed(end)
    await silent(ground, job, on_the_wire=0)
    return end.at - began
