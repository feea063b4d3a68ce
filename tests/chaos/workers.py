"""Workers of the harness's own: each serves a queue of a stack's pool, can be frozen, and dies with all it started."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import time
from pathlib import Path

from sandbox.parts import dying_with_us
from sandbox.process import PART_MARKER, Orphans, Process, descendants, is_alive, kill_tree, marked
from sandbox.stack import Stack
from sandbox.state import REPOSITORY
from tests.chaos.processes import Seen, fork_server_of, send_all

_READY = "The fork server is ready"
_READY_SECONDS = 60.0
# Runs are told to end at once instead of being waited for: by then nobody needs them any more.
_DRAIN_SECONDS = "0.5"
_STOP_SECONDS = 15.0


class Worker:
    """One worker process, with its fork server and its runs."""

    def __init__(self, stack: Stack, name: str, process: Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._stack = stack
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return not self._process.exited.is_set()

    @property
    def fork_server(self) -> Seen | None:
        return fork_server_of(self.pid)

    async def ready(self) -> None:
        """Returns when it polls and can fork."""
        deadline = time.monotonic() + _READY_SECONDS
        while _READY not in self.log.read_text(errors="replace"):
            assert self.is_running, f"worker {self.name} ended at its start; its log is {self.log}"
            assert time.monotonic() < deadline, f"worker {self.name} was not ready within {_READY_SECONDS:g} s"
            await asyncio.sleep(0.1)

    async def kill(self) -> float:
        """SIGKILL for it and all it has started, no process first; the moment it was done."""
        kill_tree(self._stack.state.marker, self.name, [self.pid])
        moment = time.monotonic()
        await self._process.exited.wait()
        return moment

    def freeze(self) -> set[int]:
        """SIGSTOP for it and all it has started; who they are."""
        frozen: set[int] = set()
        while new := self._tree(frozen) - frozen:
            send_all(new, signal.SIGSTOP)
            frozen |= new
        return frozen

    def resume(self, frozen: set[int]) -> None:
        send_all(frozen, signal.SIGCONT)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is left after a while."""
        self._process.send(signal.SIGTERM)
        await self._process.wait(_STOP_SECONDS)
        if left := {pid for pid in self._tree(set()) if is_alive(pid)}:
            send_all(left, signal.SIGKILL)
        await self._process.exited.wait()

    def _tree(self, known: set[int]) -> set[int]:
        found = marked(self._stack.state.marker, self.name) | descendants({self.pid, *known})
        return found - {os.getpid()}


class Workers:
    """All workers of one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._orphans = Orphans()
        self._numbers = itertools.count(1)
        self._all: list[Worker] = []

    async def start(self, queue: str | None, *, wakes: bool = False, **settings: str) -> Worker:
        """A worker that is ready. `queue` None: it serves all; `wakes`: it hears of runs at once."""
        wiring = self._stack.wiring
        name = f"worker-{queue or 'all'}-{next(self._numbers)}"
        environment = {
            **wiring.base_environment(),
            **wiring.flow_environment(),
            "WORKER_DRAIN_SECONDS": _DRAIN_SECONDS,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_WORKER_PREFETCH_SECONDS": "1",
            "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
            **({"WORKER_WAKE_SOCKET": wiring.wake_socket} if wakes else {}),
            **settings,
            PART_MARKER: name,
        }
        command = [sys.executable, "-m", "worker", "--name", name, *(("--queue", queue) if queue else ())]
        log = self._stack.state.log(name)
        log.touch()
        process = Process(dying_with_us(command), env=environment, log=log, cwd=REPOSITORY)
        worker = Worker(self._stack, name, process, log)
        self._all.append(worker)
        await worker.ready()
        return worker

    async def reap_forever(self) -> None:
        """Waits for what killed workers have left to this process."""
        while True:
            self._orphans.remember(worker.pid for worker in self._all if worker.is_running)
            self._orphans.reap()
            await asyncio.sleep(0.5)

    async def stop(self) -> None:
        await asyncio.gather(*(worker.stop() for worker in self._all if worker.is_running))
        self._orphans.reap()
