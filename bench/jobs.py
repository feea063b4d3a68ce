"""How long many trivial jobs take: `python -m bench.jobs [jobs=1000 keys=1 at_once=16]`.

Triggered through the shim, that many at once, run by the fork worker, until the last row has ended: without a gate,
and (`keys=1`) each under a key of its own. The limit: as many runs of a flow that does the same without a job, lease
and row, created straight in Prefect and run by the same worker.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.figures import exit_status, figure, peak_mb, reading
from bench.sizes import sizes_of
from bench.whole import Gate, Whole, whole

SIZES = {"jobs": 1000, "keys": 1, "at_once": 16}
_PATIENCE_SECONDS = 1800.0
_UNDONE = """
select count(*) filter (where completed_at is null) as undone, count(*) filter (where status = 'completed') as completed
  from public.scheduled_jobs where job_type = 'update_metrics'
"""


async def at_once(call: Callable[[], Awaitable[Any]], count: int, callers: int) -> None:
    """So many calls, so many of them under way at any time."""
    left = iter(range(count))

    async def one_after_the_other() -> None:
        for _ in left:
            await call()

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(one_after_the_other())


async def ours(bench: Whole, gate: Gate, jobs: int, callers: int) -> tuple[float, float]:
    """Seconds until all were accepted, and until all had completed."""
    await bench.sql.execute("delete from public.scheduled_jobs where job_type = 'update_metrics'")
    await bench.open_gate(gate)
    began = time.monotonic()
    await at_once(bench.trigger, jobs, callers)
    accepted = time.monotonic() - began

    async def undone() -> int:
        row = await bench.sql.fetchrow(_UNDONE)
        assert row is not None
        if not row["undone"] and row["completed"] != jobs:
            raise SystemExit(f"of {jobs} jobs {row['completed']} have completed, and the others ended otherwise")
        return int(row["undone"])

    await until_none(undone)
    return accepted, time.monotonic() - began


async def bare(bench: Whole, jobs: int, callers: int) -> float:
    """Seconds for as many runs without a job."""
    of_ours = (await bench.prefect.get(f"/deployments/{await bench.deployment_id()}")).raise_for_status().json()
    flow = (await bench.prefect.post("/flows/", json={"name": "trivial"})).raise_for_status().json()["id"]
    same = {name: of_ours[name] for name in ("work_pool_name", "work_queue_name")}
    body = {"name": "trivial", "flow_id": flow, "entrypoint": "bench.trivial.trivial", "pull_steps": [], **same}
    deployment = (await bench.prefect.post("/deployments/", json=body)).raise_for_status().json()["id"]

    async def create() -> None:
        run = {"parameters": {"file": str(bench.folder / "bare")}, "state": {"type": "SCHEDULED"}}
        answer = await bench.prefect.post(f"/deployments/{deployment}/create_flow_run", json=run)
        answer.raise_for_status()

    async def count(*states: str) -> int:
        asked = {
            "deployments": {"id": {"any_": [deployment]}},
            "flow_runs": {"state": {"type": {"any_": list(states)}}},
        }
        return int((await bench.prefect.post("/flow_runs/count", json=asked)).raise_for_status().json())

    began = time.monotonic()
    await at_once(create, jobs, callers)
    await until_none(lambda: count("SCHEDULED", "PENDING", "RUNNING"))
    seconds = time.monotonic() - began
    if (completed := await count("COMPLETED")) != jobs:
        raise SystemExit(f"of {jobs} bare runs {completed} have completed")
    return seconds


async def until_none(left: Callable[[], Awaitable[int]]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while count := await left():
        if time.monotonic() > deadline:
            raise SystemExit(f"{count} jobs have not ended after {_PATIENCE_SECONDS:.0f} s")
        await asyncio.sleep(0.5)


async def main(jobs: int, keys: int, at_once: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="bench-jobs-") as folder:
        async with whole(Path(folder)) as bench:
            limit = await bare(bench, jobs, at_once)
            gates: list[Gate] = ["off", "own key"] if keys else ["off"]
            met = []
            for gate in gates:
                accepted, seconds = await ours(bench, gate, jobs, at_once)
                words = "gate off" if gate == "off" else "each under its own key"
                (shim,) = bench.pids("shim")
                met.append(
                    figure(
                        f"{jobs} trivial jobs, {words}, against bare runs on the same worker",
                        ours=jobs / seconds,
                        limit=jobs / limit,
                        unit="jobs/s",
                        goal="",
                        peak_mb=peak_mb(shim),
                    )
                )
                reading(f"{jobs} trivial jobs, {words}: until all are accepted", accepted, unit="s")
                reading(f"{jobs} trivial jobs, {words}: until all have completed", seconds, unit="s")
            return all(met)


if __name__ == "__main__":
    sys.exit(exit_status(met=asyncio.run(main(**sizes_of(sys.argv[1:], SIZES)))))
