"""Our whole stack with the trivial job (bench/trivial_job.py) in the place of a real one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import UUID

import asyncpg
import httpx

from bench.trivial_job import FOLDER
from flows.core.domain import JobType
from sandbox.stack import ALL_PARTS, Stack

TYPE = JobType.UPDATE_METRICS
ENTRYPOINT = "bench.trivial_job.update_metrics"
_PATIENCE_SECONDS = 60.0

Gate = Literal["off", "own key"]
_KEYS = {"off": "null", "own key": "new.id::text"}
# The type's one gate would make a queue of them, which is what the gate is for. Before triggers fire by their names.
_OPEN_GATE = """
create or replace function public.bench_gate() returns trigger language plpgsql as $$
begin
  new.exclusive_key := {key};
  return new;
end $$;
create or replace trigger aaa_bench_gate before insert on public.scheduled_jobs
  for each row execute function public.bench_gate()
"""


@dataclass(frozen=True)
class Whole:
    stack: Stack
    http: httpx.AsyncClient
    prefect: httpx.AsyncClient
    sql: asyncpg.Connection[asyncpg.Record]
    folder: Path

    async def trigger(self) -> str:
        """The id of the accepted job."""
        answer = await self.http.post("/api/jobs/trigger", json={"jobType": TYPE})
        return str(answer.raise_for_status().json()["id"])

    async def first_line_at(self, job_id: str) -> float:
        """When the job's first line ran, as time.time() has it; waits for it."""
        return await written(self.folder / job_id)

    async def has_ended(self, job_id: str) -> bool:
        ended = "select completed_at is not null from public.scheduled_jobs where id = $1"
        return bool(await self.sql.fetchval(ended, UUID(job_id)))

    async def open_gate(self, gate: Gate) -> None:
        """Jobs of one type run side by side from now on: without a key, or each with its own."""
        await self.sql.execute(_OPEN_GATE.format(key=_KEYS[gate]))

    async def deployment_id(self) -> str:
        answer = await self.prefect.get(f"/deployments/name/{TYPE}/{TYPE}")
        return str(answer.raise_for_status().json()["id"])

    def pids(self, *parts: str) -> list[int]:
        return [pid for part in parts if (pid := self.stack.pid(part)) is not None]


async def written(file: Path) -> float:
    """The time that a trivial job writes into its file, as soon as it has."""
    deadline = time.monotonic() + _PATIENCE_SECONDS * 2
    while not (text := _text_of(file)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"a trivial job has not begun within {_PATIENCE_SECONDS * 2:.0f} s")
        await asyncio.sleep(0.005)
    return float(text)


def _text_of(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""


@asynccontextmanager
async def whole(folder: Path, *, presets: dict[str, str] | None = None) -> AsyncIterator[Whole]:
    """The stack in a folder of its own, its worker warm, its shim ready to be asked."""
    lines = folder / "lines"
    lines.mkdir(exist_ok=True)
    settings = {"RATE_LIMIT_PER_MINUTE": "0", FOLDER: str(lines), **(presets or {})}
    async with Stack(folder / "stack", ports="free", parts=ALL_PARTS, settings=settings) as stack:
        wiring = stack.wiring
        headers = {"Authorization": f"Bearer {stack.token(expires_seconds=36_000)}"}
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        async with (
            httpx.AsyncClient(
                base_url=wiring.url("shim"), headers=headers, limits=limits, trust_env=False, timeout=60
            ) as http,
            httpx.AsyncClient(
                base_url=wiring.url("prefect"), headers=wiring.prefect_headers, trust_env=False, timeout=60
            ) as prefect,
        ):
            sql = await asyncpg.connect(wiring.database_url)
            try:
                made = Whole(stack, http, prefect, sql, lines)
                await _replace_job(made)
                await _until_ready(made)
                yield made
            finally:
                await sql.close()


async def _replace_job(made: Whole) -> None:
    deployment = await made.deployment_id()
    answer = await made.prefect.patch(f"/deployments/{deployment}", json={"entrypoint": ENTRYPOINT})
    answer.raise_for_status()


async def _until_ready(made: Whole) -> None:
    """Until the shim knows the job types: it is asked for what it refuses then, so that nothing has run before."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    asked = {"jobType": TYPE, "parameters": {"unknown": True}}
    while (await made.http.post("/api/jobs/trigger", json=asked)).status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        if time.monotonic() > deadline:
            raise SystemExit("the shim is not ready")
        await asyncio.sleep(0.2)
