"""This scheduler: the whole stack of the sandbox, the trivial job as a job of ours, triggered through the shim."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from bench.peers.multiply import multiply, older
from bench.peers.system import System, Triggered, asked, owner_of
from bench.whole import TYPE, Whole, whole

_TIMES = ("created_at", "started_at", "completed_at", "updated_at")


class Ours(System):
    title = "This scheduler"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.whole: Whole

    async def prepare(self) -> None:
        async with self.running():
            # Without it jobs of one type wait for one another, which is what nobody else here does.
            await self.whole.open_gate("off")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with whole(self.folder) as self.whole:
            yield

    async def trigger(self) -> Triggered:
        found, answer = await asked(self.whole.http, "/api/jobs/trigger", {"jobType": TYPE}, self.folder)
        return Triggered(found.at, found.seconds, self.whole.folder / answer["id"])

    def pids(self) -> Iterable[int]:
        return self.whole.pids("shim", "worker", "prefect")

    def database_pids(self) -> Iterable[int]:
        return self.whole.pids("postgres", "postgrest", "gateway")

    async def fill(self, rows: int) -> None:
        sql = await owner_of(self.whole.stack, "site")
        ids = {"id": "gen_random_uuid()", "flow_run_id": "gen_random_uuid()"}
        changed = {**ids, **{name: older(name) for name in _TIMES}}
        await multiply(sql, "public.scheduled_jobs", rows, where="status = 'completed'", changed=changed)
        await sql.execute("select public.recount_job_stats()")
        await sql.close()
        await asyncio.sleep(1)

    async def newest(self) -> int:
        answer = await self.whole.http.get("/api/jobs", params={"limit": 50})
        return len(answer.raise_for_status().json()["jobs"])
