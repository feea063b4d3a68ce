"""The processes of a system beside ours: started, waited for, and ended with all that they have started."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from bench.peers.environment import Unavailable
from sandbox.parts import dying_with_us
from sandbox.process import MARKER, Process, descendants, end_all, marked

_GRACE_SECONDS = 15.0
_TAIL_LINES = 6


class Services:
    """Raises Unavailable with the end of the log where one dies or is not ready in time."""

    def __init__(self, folder: Path, binaries: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.binaries = binaries
        self._marker = f"bench-{secrets.token_hex(6)}"
        self._processes: dict[str, Process] = {}
        # What the caller's shell says is about other systems.
        self.environment = {
            "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "LANG": "C.UTF-8",
            "NO_PROXY": "127.0.0.1,localhost",
            "DO_NOT_TRACK": "1",
            MARKER: self._marker,
            **environment,
        }

    def start(self, name: str, *command: str) -> None:
        self._processes[name] = Process(
            dying_with_us([str(self.binaries / command[0]), *command[1:]]),
            env=self.environment,
            log=self._log(name),
            cwd=self.folder,
        )

    async def run(self, name: str, *command: str, seconds: float = 300) -> None:
        """A command that ends by itself."""
        self.start(name, *command)
        process = self._processes.pop(name)
        ended = await process.wait(seconds)
        if not ended or process.status != "exit status 0":
            raise Unavailable(f"{name} failed ({process.status}): {self._tail(name)}")

    async def until(self, question: Callable[[], Awaitable[bool]], what: str, seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not await _answer(question):
            for name, process in self._processes.items():
                if process.exited.is_set():
                    raise Unavailable(f"{name} ended at its start ({process.status}): {self._tail(name)}")
            if time.monotonic() > deadline:
                tails = "; ".join(f"{name}: {self._tail(name)}" for name in self._processes)
                raise Unavailable(f"after {seconds:.0f} s {what} is not so: {tails}")
            await asyncio.sleep(0.1)

    def pids(self, *, without: str = "") -> set[int]:
        return {process.pid for name, process in self._processes.items() if name != without}

    async def aclose(self) -> None:
        left = descendants(self.pids()) | marked(self._marker)
        self._processes.clear()
        await end_all(left, grace_seconds=_GRACE_SECONDS)
        # What was started while the others were told to end.
        await end_all(marked(self._marker), grace_seconds=1)

    def log(self, name: str) -> str:
        """What a process has written."""
        return self._log(name).read_text(errors="replace")

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _tail(self, name: str) -> str:
        lines = self.log(name).strip().splitlines()
        return " / ".join(line.strip() for line in lines[-_TAIL_LINES:])[-600:]


@asynccontextmanager
async def services(folder: Path, binaries: Path, environment: Mapping[str, str]) -> AsyncIterator[Services]:
    made = Services(folder, binaries, environment)
    try:
        yield made
    finally:
        await made.aclose()


async def _answer(question: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await question()
    except (OSError, httpx.HTTPError, ValueError, KeyError, TypeError, IndexError):
        return False
