"""A run's process as the worker sees it: waited for, asked to end, made to end with everything it has started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.runner._process_manager import ProcessHandle, ProcessManager

from worker.cgroups import RunGroups
from worker.servers import Forked

# The kernel hands an orphan on when its parent has ended; the parent of a run ends right after telling of it.
_ADOPTION_SECONDS = 0.01


class RunProcess:
    """One forked run. `returncode` is negative for a signal, as everywhere in Python."""

    def __init__(self, forked: Forked, groups: RunGroups, grace_seconds: float) -> None:
        self.pid = forked.pid
        self.version = forked.version
        self.returncode: int | None = None
        self.groups = groups
        self.grace_seconds = grace_seconds
        self.exited = asyncio.Event()
        self._descriptor = forked.descriptor
        asyncio.get_running_loop().add_reader(forked.descriptor, self._on_exit)

    def send(self, number: signal.Signals) -> None:
        """Signals the run's process group."""
        if self.returncode is not None:
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # it has not made its group yet
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def end(self, grace_seconds: float) -> None:
        """SIGTERM, and SIGKILL after the grace, or at once without one; returns when it is gone."""
        if grace_seconds > 0:
            self.send(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.exited.wait(), grace_seconds)
                return
        self.send(signal.SIGKILL)
        self.groups.kill()
        await self.exited.wait()

    def _on_exit(self) -> None:
        loop = asyncio.get_running_loop()
        # While its leader is not waited for, the group's number cannot be given to anybody else.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        try:
            end = os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            end = None
        if end is None:
            loop.remove_reader(self._descriptor)
            loop.call_later(_ADOPTION_SECONDS, lambda: loop.add_reader(self._descriptor, self._on_exit))
            return
        loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self.returncode = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        self.groups.kill()
        self.exited.set()


class _Scope:
    """How Prefect's process manager reaches a run: through its process group."""

    wait_after_graceful_kill = True

    def __init__(self, process: RunProcess) -> None:
        self._process = process

    def is_alive(self, _pid: int) -> bool:
        return self._process.returncode is None

    def graceful_kill(self, _pid: int) -> None:
        self._process.send(signal.SIGTERM)

    def hard_kill(self, _pid: int) -> None:
        self._process.send(signal.SIGKILL)

    def close(self) -> None: ...


def handle_of(process: RunProcess) -> ProcessHandle:
    as_prefect_has_it: Any = process
    return ProcessHandle(as_prefect_has_it, termination_scope=_Scope(process))


class Processes(ProcessManager):
    """Prefect's map of flow runs to processes, with a kill that ends as soon as the process has.

    Prefect's own looks every 3 s, and gives each run 30 s. A run that `is_unheard` gets none.
    """

    def __init__(self, is_unheard: Callable[[UUID], bool], **callbacks: Any) -> None:
        super().__init__(**callbacks)
        self._is_unheard = is_unheard
        self._all: list[RunProcess] = []

    async def kill(self, flow_run_id: UUID, grace_seconds: float = 30, *, force: bool = False) -> None:
        process = self.process(flow_run_id)
        if process is not None:
            at_once = force or self._is_unheard(flow_run_id)
            await process.end(0 if at_once else min(grace_seconds, process.grace_seconds))

    def process(self, flow_run_id: UUID) -> RunProcess | None:
        """The process of a flow run, while Prefect's executor has it."""
        handle = self.get(flow_run_id)
        found: Any = handle.raw_process if handle is not None else None
        return found if isinstance(found, RunProcess) else None

    def by_pid(self, pid: str) -> RunProcess | None:
        """The living run with this process id."""
        return next((process for process in self._all if str(process.pid) == pid and process.returncode is None), None)

    @property
    def pids(self) -> list[int]:
        """Every process that a run was started as and that has not been waited for."""
        return [process.pid for process in self._all if process.returncode is None]

    def remember(self, process: RunProcess) -> None:
        """Also of hooks, which Prefect's map does not know."""
        self._all = [each for each in self._all if each.returncode is None] + [process]
