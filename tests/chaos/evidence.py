"""What is printed about a job whose run of a scenario failed: enough to find out why without running it again."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from tests.chaos.ground import Ground

_LOG_LINES = 25
_LINE = 400
_ROW = "select * from public.scheduled_jobs where id = $1"
_EVENTS = "select at, kind, data from public.job_events where job_id = $1 order by id"
_STATES = "select timestamp, type::text, name, message from flow_run_state where flow_run_id = $1 order by timestamp"


async def tell(ground: Ground, job: str) -> str:
    """Row, events, Prefect's states, calls and log lines of a job and of those that try it again."""
    told = []
    for one in ground.rows.line(job):
        told += await _one(ground, one)
    return "\n".join(f"    {line[:_LINE]}" for line in told)


async def _one(ground: Ground, job: str) -> list[str]:
    (row,) = await ground.query(_ROW, job)
    run = row["flow_run_id"]
    known = {name: value for name, value in row.items() if value is not None}
    told = [f"row {json.dumps(known, default=str)[i : i + _LINE - 10]}" for i in range(0, 2000, _LINE - 10)]
    told = [line for line in told if line != "row "]
    for event in await ground.query(_EVENTS, job):
        data = {name: value for name, value in event["data"].items() if name not in ("jobType", "result")}
        told.append(f"  event {event['at']:%H:%M:%S.%f} {event['kind']} {data}")
    with suppress(OSError, asyncpg.PostgresError):
        for state in await ground.prefect_rows(_STATES, run) if run else []:
            at = f"{state['timestamp']:%H:%M:%S.%f}"
            told.append(f"  state {at} {state['type']} ({state['name']}) {state['message'] or ''}")
    told += [f"  call {call}" for call in (await ground.calls.of(job))[-5:]]
    return told + _log_lines(ground, [job, *([str(run)] if run else [])])


def _log_lines(ground: Ground, ids: list[str]) -> list[str]:
    wanted = re.compile("|".join(ids))
    found = []
    for log in sorted((ground.stack.state.path / "logs").glob("*.log")):
        if log.stem.startswith(("shim", "worker")):
            lines = [line for line in log.read_text(errors="replace").splitlines() if wanted.search(line)]
            found += [f"  {log.stem}: {line}" for line in lines[-_LOG_LINES:]]
    return found
