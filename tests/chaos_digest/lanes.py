"""A stack whose digests run in three lanes, each with a queue, a worker and a gate of its own, and words to use it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx

from sandbox import seed
from sandbox.stack import ALL_PARTS, Stack
from sandbox.steps import build_steps
from tests.chaos.processes import Seen
from tests.chaos.rows import Row, Rows, speak_json
from tests.chaos.table import say
from tests.chaos.workers import Worker, Workers
from tests.e2e.harness import until

PARTS = tuple(part for part in ALL_PARTS if part not in ("worker", "crawler", "site"))
TYPE = "weekly_digest"
LANES = ("high", "medium", "low")
JOBS_A_LANE = 4
WEEK = "2026-W48"
TOPICS = 12  # three digests that fetch them at once stay under the discovery service's 100 requests a minute
TRIES = 3  # how often a job that died is tried again

_READY_SECONDS = 90.0
_GONE_SECONDS = 10.0
# The gate of a job is what its type's code says; here it is one for each lane.
_A_GATE_EACH = """
create function public.chaos_lane() returns trigger language plpgsql set search_path = '' as $$
begin
  new.exclusive_key := new.job_type || ' ' || new.priority;
  return new;
end $$;
create trigger chaos_lane before insert on public.scheduled_jobs for each row execute function public.chaos_lane();
"""
_ANYTHING_LEFT = """
select exists (select from public.scheduled_jobs where status in ('pending', 'running') or recover_at is not null)
"""


def _gone(process: Seen) -> Callable[[], Awaitable[bool]]:
    async def gone() -> bool:
        return not process.is_alive

    return gone


class Lanes:
    def __init__(self, name: str, folder: Path, settings: Mapping[str, str]) -> None:
        self.name = name
        self.stack = Stack(folder / name, ports="free", parts=PARTS, settings=settings)
        self.rows: Rows
        self.http: httpx.AsyncClient
        self.kills: list[str] = []
        """The jobs that were killed, in order."""
        self._all_workers: Workers
        self._workers: dict[str, Worker] = {}
        self._starting: set[asyncio.Task[None]] = set()
        self._pool: asyncpg.Pool[asyncpg.Record]
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._resources.aclose()
            raise
        say(f"{self.name}: ready, logs in {self.stack.state.path / 'logs'}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    async def _start(self) -> None:
        await self._resources.enter_async_context(self.stack)
        wiring = self.stack.wiring
        await build_steps(wiring, wanted=frozenset(ALL_PARTS), started=frozenset())["deployments"].run()
        self._pool = await self._resources.enter_async_context(
            asyncpg.create_pool(wiring.database_url, min_size=1, max_size=4, init=speak_json)
        )
        headers = {"Authorization": f"Bearer {self.stack.token(expires_seconds=7200)}"}
        self.http = await self._resources.enter_async_context(
            httpx.AsyncClient(base_url=wiring.url("shim"), headers=headers, trust_env=False, timeout=20)
        )
        self.rows, self._all_workers = Rows(wiring.database_url), Workers(self.stack)
        self._resources.push_async_callback(self._all_workers.stop)
        for watch in (self.rows.watch_forever(), self._all_workers.reap_forever()):
            task: asyncio.Task[Any] = asyncio.create_task(watch)
            self._resources.callback(task.cancel)
        async with self._pool.acquire() as connection:
            await connection.execute(_A_GATE_EACH)
        await asyncio.gather(*(self._start_worker(lane) for lane in LANES))

    async def _start_worker(self, lane: str) -> None:
        while True:
            try:
                self._workers[lane] = await self._all_workers.start(lane)
            except AssertionError as error:  # too slow on a busy machine: what Kubernetes would do
                say(f"{self.name}: {error}; another is started")
            else:
                return

    # What is done before the first kill

    async def seed(self, users: int) -> None:
        connection = await asyncpg.connect(self.stack.wiring.database_url)
        try:
            await seed.seed_readers(connection, users, topics=TOPICS)
        finally:
            await connection.close()

    async def drop_answers(self, share: float, seed_number: int) -> None:
        """From now on the mail service accepts mails and, of so many, tells nobody."""
        await self._faults({"fault": "drop", "share": share, "seed": seed_number})

    async def dropped(self) -> int:
        """How many answers it has dropped."""
        return int((await self._faults())["met"])

    async def _faults(self, wanted: Any = None) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False) as http:
            url = f"{self.stack.wiring.url('email')}/__faults"
            answer = await (http.put(url, json=wanted) if wanted else http.get(url))
            told: dict[str, Any] = answer.raise_for_status().json()
            return told

    async def trigger(self) -> None:
        """Triggers the week's digest, four times in each lane."""
        deadline = asyncio.get_running_loop().time() + _READY_SECONDS
        for _ in range(JOBS_A_LANE):
            for lane in LANES:
                body = {"jobType": TYPE, "priority": lane.upper(), "parameters": {"week": WEEK}}
                while (
                    answer := await self.http.post("/api/jobs/trigger", json=body)
                ).status_code != httpx.codes.ACCEPTED:
                    # Right after its start the shim may not know the deployments yet.
                    assert asyncio.get_running_loop().time() < deadline, f"{answer.status_code} {answer.text}"
                    await asyncio.sleep(1)

    # Kills

    def victims(self) -> dict[str, str]:
        """Lane to the job that runs in it and would be tried again if it died."""
        return {
            row["priority"].lower(): job
            for job, row in self.rows.now.items()
            if row["status"] == "running" and (row["recoveries"] or 0) < TRIES and self._lives(job)
        }

    def _lives(self, job: str) -> bool:
        process = self.rows.processes.get(job)
        worker = self._workers.get(self.rows.now[job]["priority"].lower())
        return process is not None and process.is_alive and worker is not None and worker.is_running

    async def kill(self, chance: random.Random) -> str | None:
        """SIGKILLs the worker of one lane with its flow process, and has another started.

        Returns which it was; None, and it does not count, where the job had ended just before.
        """
        while not (victims := self.victims()):
            assert await self.is_anything_left(), f"nothing is left to be killed after {len(self.kills)} kills"
            await asyncio.sleep(0.05)
        lane, job = chance.choice(sorted(victims.items()))
        process = self.rows.processes[job]
        await self._workers.pop(lane).kill()
        await until(_gone(process), seconds=_GONE_SECONDS, what=f"process {process.pid} is gone")
        task = asyncio.create_task(self._start_worker(lane))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        if await self.value("select status from public.scheduled_jobs where id = $1", job) != "running":
            return None
        self.kills.append(job)
        return f"{lane}, try {(self.rows.now[job]['recoveries'] or 0) + 1}"

    # What there is

    async def is_anything_left(self) -> bool:
        """True while a job has not ended, or is to be tried again."""
        return bool(await self.value(_ANYTHING_LEFT))

    async def over(self) -> None:
        while True:
            if not await self.is_anything_left():
                return
            await asyncio.sleep(1)

    async def query(self, sql: str, *values: Any) -> list[Row]:
        async with self._pool.acquire() as connection:
            return [dict(row) for row in await connection.fetch(sql, *values)]

    async def value(self, sql: str, *values: Any) -> Any:
        async with self._pool.acquire() as connection:
            return await connection.fetchval(sql, *values)
