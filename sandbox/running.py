"""One part while it runs: started, watched until it is ready, stopped, killed."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from signal import SIGKILL, Signals

import asyncpg
import httpx

from sandbox.errors import SandboxError
from sandbox.parts import Part, now
from sandbox.process import PART_MARKER, Process, end_all, kill_tree, marked
from sandbox.state import REPOSITORY

_NOT_YET = (OSError, httpx.HTTPError, asyncpg.PostgresError, TimeoutError, ValueError, KeyError, TypeError)
_LOG_LIMIT_BYTES = 20_000_000
_TAIL_LINES = 12


class RunningPart:
    def __init__(
        self,
        part: Part,
        *,
        log: Path,
        sandbox_id: str,
        environment: Mapping[str, str],
        on_death: Callable[["RunningPart"], None],
        hide: Callable[[str], str],
    ) -> None:
        self.part = part
        self.log = log
        self.process: Process | None = None
        self.is_ready = False
        self._sandbox_id = sandbox_id
        self._environment = {**environment, **part.environment, PART_MARKER: part.name}
        self._on_death = on_death
        self._hide = hide
        self._log_offset = 0
        self._started_at: datetime | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self.process is not None and not self.process.exited.is_set()

    async def start(self) -> float:
        """The seconds until it was ready."""
        if self.is_running:
            raise SandboxError(f"{self.part.name} runs already.")
        began = time.monotonic()
        self.is_ready = False
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT_BYTES:
            self.log.unlink()
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        command = await asyncio.to_thread(self.part.command)
        self._started_at = now()
        try:
            self.process = Process(command, env=self._environment, log=self.log, cwd=REPOSITORY)
        except FileNotFoundError as error:
            raise SandboxError(f"{self.part.name} cannot start: {error.filename} is not installed.") from error
        await self._until_ready(self.process, began)
        self.is_ready = True
        self._watch = asyncio.create_task(self._watch_over(self.process))
        return time.monotonic() - began

    async def stop(self) -> None:
        """Ask it to end, then make it; and end what it has started."""
        process = self._let_go()
        if process is not None:
            process.send(Signals[self.part.stop_signal])
            if not await process.wait(self.part.grace_seconds):
                process.send(SIGKILL)
                await process.exited.wait()
        if left := marked(self._sandbox_id, self.part.name):
            await end_all(left, grace_seconds=1)

    async def kill(self, *, only: bool = False) -> None:
        """SIGKILL: the part and everything it has started, or (`only`) just the process that we started."""
        process = self._let_go()
        if only and process is not None:
            process.send(SIGKILL)
        else:
            kill_tree(self._sandbox_id, self.part.name, [process.pid] if process is not None else [])
        if process is not None:
            await process.exited.wait()

    def log_tail(self) -> str:
        """The last lines it wrote since its start."""
        if not self.log.exists():
            return ""
        lines = self._written().strip().splitlines()
        return self._hide("\n".join(f"    {line}" for line in lines[-_TAIL_LINES:]))

    def _let_go(self) -> Process | None:
        """The process, whose end is from now on no accident."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        process, self.process, self.is_ready = self.process, None, False
        return process

    async def _until_ready(self, process: Process, began: float) -> None:
        name, limit = self.part.name, self.part.ready_seconds
        while not await self._answers():
            if process.exited.is_set():
                raise SandboxError(f"{name} ended at its start ({process.status}); its log says:\n{self.log_tail()}")
            if time.monotonic() - began > limit:
                raise SandboxError(f"{name} was not ready within {limit:.0f} s; its log says:\n{self.log_tail()}")
            await asyncio.sleep(0.05)

    async def _answers(self) -> bool:
        assert self._started_at is not None  # noqa: S101 - start() has set it
        if self.part.ready_words and self.part.ready_words not in self._written():
            return False
        try:
            return await self.part.is_ready(self._started_at)
        except _NOT_YET:
            return False

    async def _watch_over(self, process: Process) -> None:
        await process.exited.wait()
        if self.process is process:
            self._on_death(self)

    def _written(self) -> str:
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_offset, size - 100_000) if size >= self._log_offset else 0)
            return file.read().decode(errors="replace")
