"""A system beside ours that keeps its state in a PostgreSQL: the sandbox's, with a database of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from bench.peers.environment import binaries
from bench.peers.services import Services, services
from bench.peers.system import System, owner_of
from sandbox.stack import Stack


class OnPostgres(System):
    """`name` is that of its requirements, and of its database."""

    name: str

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.stack: Stack
        self.address = ""
        """User, password, host and database, as they stand in a URL."""
        self.now: Services
        """Its processes, while it runs."""

    async def prepare(self) -> None:
        self._binaries = await asyncio.to_thread(binaries, self.name)
        postgres = Stack(self.folder / "stack", ports="free", parts=("postgres",))
        self.stack = await self.resources.enter_async_context(postgres)
        sql = await owner_of(self.stack, "postgres")
        try:
            await sql.execute(f"create database {self.name} owner postgres")
        finally:
            await sql.close()
        address = self.stack.wiring.database_url.partition("://")[2]
        self.address = f"{address.rpartition('/')[0]}/{self.name}"

    def environment(self) -> dict[str, str]:
        raise NotImplementedError

    def services(self) -> AbstractAsyncContextManager[Services]:
        return services(self.folder, self._binaries, self.environment())

    def pids(self) -> Iterable[int]:
        return self.now.pids()

    def database_pids(self) -> Iterable[int]:
        pid = self.stack.pid("postgres")
        return [pid] if pid is not None else []
