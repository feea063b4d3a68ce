"""Procrastinate: a worker on PostgreSQL alone. Its jobs stay in a table, but nothing lists them a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.peers.environment import version_of
from bench.peers.libraries import INSIDE, Caller, caller
from bench.peers.on_postgres import OnPostgres
from bench.peers.system import Triggered

_APP = ("procrastinate", "--app=procrastinate_tasks.app")
_CONCURRENCY = "16"


class Procrastinate(OnPostgres):
    title = f"Procrastinate {version_of('procrastinate', 'procrastinate')}"
    name = "procrastinate"
    has_pages = False
    _caller: Caller

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(INSIDE), "BENCH_DATABASE": f"postgresql://{self.address}"}

    async def prepare(self) -> None:
        await super().prepare()
        async with self.services() as made:
            await made.run("schema", *_APP, "schema", "--apply")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.services() as self.now:
            self.now.start("worker", *_APP, "-v", "worker", "--concurrency", _CONCURRENCY)
            await self.now.until(self._is_ready, "its worker is ready")
            async with caller(self.now, "procrastinate_caller.py") as self._caller:
                yield

    async def _is_ready(self) -> bool:
        return "Starting worker" in self.now.log("worker")

    async def trigger(self) -> Triggered:
        return await self._caller.trigger()
