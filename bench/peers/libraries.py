"""Systems without an HTTP interface: a process in their own environment triggers, and measures what a call takes."""

from __future__ import annotations

import asyncio
import json
import socket
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from bench.peers.environment import Unavailable
from bench.peers.services import Services
from bench.peers.system import Triggered
from sandbox.parts import dying_with_us

INSIDE = Path(__file__).with_name("inside")
_PATIENCE_SECONDS = 60


class Caller:
    """Triggers through the process: a line with the file's name to it, a line with the times from it."""

    def __init__(self, process: Process, folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._waiting: dict[str, asyncio.Future[tuple[float, float]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def trigger(self) -> Triggered:
        file = self._folder / str(uuid4())
        told = self._waiting[str(file)] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(f"{file}\n".encode())
        async with asyncio.timeout(_PATIENCE_SECONDS):
            at, seconds = await told
        return Triggered(at, seconds, file)

    async def aclose(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            self._waiting.pop(told["file"]).set_result((told["at"], told["seconds"]))
        for waiting in self._waiting.values():
            waiting.set_exception(Unavailable("the process that triggers has ended"))


@asynccontextmanager
async def caller(services: Services, script: str, *arguments: str) -> AsyncIterator[Caller]:
    """`script` of inside/, in the environment of the services."""
    with (services.folder / "caller.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *dying_with_us([str(services.binaries / "python"), script, *arguments]),
            env=services.environment,
            cwd=INSIDE,
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
        )
    made = Caller(process, services.folder)
    try:
        yield made
    finally:
        await made.aclose()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
