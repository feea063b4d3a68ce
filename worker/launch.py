"""Starts the process of a run and sees it through: folder, control groups, output, fork, end."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import uuid4

import anyio
from prefect.client.schemas.objects import FlowRun

from worker.cgroups import Controllers, RunGroups
from worker.configuration import ForkConfiguration
from worker.output import Output
from worker.processes import RunProcess
from worker.requests import ForkRequest, Limits
from worker.servers import ForkServers

Kind = Literal["run", "crashed hooks", "cancellation hooks"]


@dataclass(frozen=True)
class Order:
    """What is to be started."""

    flow_run: FlowRun
    configuration: ForkConfiguration
    entrypoint: str | None = None
    kind: Kind = "run"
    state: dict[str, Any] | None = None


@dataclass(frozen=True)
class Launched:
    process: RunProcess
    output: Output

    async def ended(self) -> None:
        """Returns when it is gone and all that it has written is here."""
        await self.process.exited.wait()
        await self.output.drained()


class Launcher:
    """What every run of this worker is started with."""

    def __init__(self, servers: ForkServers, controllers: Controllers, user: str | None) -> None:
        self.started: Callable[[Order, RunProcess], None] = lambda _order, _process: None
        """Told of every process."""
        self.no_default_storage = False
        """What is known of the server; see ForkRequest."""
        self._servers = servers
        self._controllers = controllers
        self._user = user

    @asynccontextmanager
    async def launched(self, order: Order, environment: dict[str, str]) -> AsyncIterator[Launched]:
        """The running process. On leaving it has ended, and nothing of it is left: no process, no folder, no group."""
        limits = order.configuration.limits
        working_dir = self._working_dir(order.configuration)
        groups = self._controllers.make(f"run-{os.getpid()}-{uuid4().hex[:12]}", limits)
        process: RunProcess | None = None
        try:
            output = await Output.open(stream=order.configuration.stream_output)
            process = await self._fork(order, environment, working_dir, groups, output)
            launched = Launched(process, output)
            yield launched
            await launched.ended()
        finally:
            # Also when whoever wanted the run has given it up: nothing of it may stay.
            with anyio.CancelScope(shield=True):
                if process is not None and process.returncode is None:
                    await process.end(0)
                await asyncio.to_thread(_clear_up, groups, None if order.configuration.working_dir else working_dir)

    async def _fork(
        self, order: Order, environment: dict[str, str], working_dir: str, groups: RunGroups, output: Output
    ) -> RunProcess:
        request = ForkRequest(
            kind=order.kind,
            flow_run=order.flow_run.model_dump(mode="json"),
            environment=environment,
            working_dir=working_dir,
            limits=self._by_process(order.configuration.limits),
            cgroups=groups.entrances,
            user=self._user,
            entrypoint=order.entrypoint,
            state=order.state,
            no_default_storage=self.no_default_storage,
        )
        try:
            forked = await self._servers.fork(request, output.stdout, output.stderr)
        finally:
            output.handed_over()
        process = RunProcess(forked, groups, order.configuration.grace_seconds)
        self.started(order, process)
        return process

    def describe_limits(self) -> list[str]:
        """One line for each limit: by what means it holds here, or that it cannot."""
        version = f"control group, version {self._controllers.version}: the whole run"
        memory, processes = f"a {version}, killed beyond it", f"a {version}, fork fails beyond it"
        if self._controllers.memory is None:
            memory = "RLIMIT_DATA (no control group can be made): each process, MemoryError beyond it"
        if self._controllers.pids is None:
            processes = (
                f"RLIMIT_NPROC (no control group can be made): all processes of {self._user} together"
                if self._user
                else "nothing: no control group can be made, and root is exempt from RLIMIT_NPROC"
            )
        return [
            f"Memory of a run is limited by {memory}",
            f"Processes of a run are limited by {processes}",
            "CPU time of a run is limited by RLIMIT_CPU: each process, SIGXCPU beyond it",
            "Open files of a run are limited by RLIMIT_NOFILE: each process, EMFILE beyond it",
            f"Runs become the user {self._user}" if self._user else f"Runs stay the worker's user ({os.getuid()})",
        ]

    def _by_process(self, limits: Limits) -> Limits:
        """The limits that no control group holds, and the kernel must keep for each process."""
        return replace(
            limits,
            memory_mb=limits.memory_mb if self._controllers.memory is None else None,
            # Root is exempt, and another user's processes are counted over all runs.
            max_processes=limits.max_processes if self._controllers.pids is None and self._user else None,
        )

    def _working_dir(self, configuration: ForkConfiguration) -> str:
        if configuration.working_dir:
            return str(configuration.working_dir)
        folder = tempfile.mkdtemp(prefix="run-")
        if self._user is not None:
            os.chown(folder, pwd.getpwnam(self._user).pw_uid, -1)
        return folder


def _clear_up(groups: RunGroups, folder: str | None) -> None:
    groups.remove()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
