"""A Prefect server, two pools with the same flows, a worker for either, and what a person does with them."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelling
from prefect.workers.base import BaseWorker

from sandbox.stack import Stack
from tests.worker import trial_flows
from worker.cgroups import Controllers

REPOSITORY = Path(__file__).parents[2]
ALL_FLOWS = [each for each in vars(trial_flows).values() if isinstance(each, Flow)]


class Worker:
    """A worker process of either kind, started as a person would."""

    def __init__(
        self,
        stack: Stack,
        kind: str,
        folder: Path,
        *,
        pool: str = "",
        shell: str = "",
        arguments: str = "",
        code: str = "",
        **settings: str,
    ) -> None:
        self.kind = kind
        self.pool = pool or kind
        self.log = folder / f"{kind}-{time.monotonic_ns()}.log"
        self.wake = folder / f"wake-{time.monotonic_ns()}"
        command = [*shell.split(), sys.executable, "-m"]
        if kind == "process":
            command += ["prefect", "worker", "start", "--type", "process", "--install-policy", "never"]
        else:
            command[-1:] = ["-c", code] if code else ["-m", "worker"]
        command += ["--pool", self.pool, "--name", f"{kind}-{folder.name}", *arguments.split()]
        environment = {
            **stack.wiring.base_environment(),
            **stack.wiring.prefect_client_environment(),
            "PYTHONPATH": str(REPOSITORY),
            "PREFECT_WORKER_QUERY_SECONDS": "0.5",
            "PREFECT_WORKER_PREFETCH_SECONDS": "1",
            "WORKER_WAKE_SOCKET": str(self.wake),
            "WORKER_HEALTH_FILE": str(folder / "healthy"),
            **settings,
        }
        with self.log.open("wb") as log:
            self._popen = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        self.pid = self._popen.pid

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    async def ready(self) -> None:
        """Returns when it has started, and its fork server too."""
        words = "The fork server is ready" if self.kind == "forkserver" else " started!"
        await until(lambda: words in self.text(), 30, "the worker has started")

    def poke(self) -> None:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.sendto(b"1", str(self.wake))

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    async def ended(self, seconds: float = 40) -> int:
        return await asyncio.wait_for(asyncio.to_thread(self._popen.wait), seconds)

    def kill(self) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()
        # A killed worker leaves its runs' control groups; whoever looks for controllers next removes the empty ones.
        Controllers.find()

    def fork_server(self) -> int:
        """The process id of its fork server."""
        (found,) = [pid for pid in children(self.pid) if b"worker.forkserver" in _command(pid) and not _is_run(pid)]
        return found


class Trials:
    """A pool's runs."""

    def __init__(self, client: PrefectClient, pool: str, worker: Worker | None = None) -> None:
        self.client = client
        self.pool = pool
        self.worker = worker

    async def trigger(
        self, flow: Flow[..., Any], variables: dict[str, Any] | None = None, **parameters: Any
    ) -> FlowRun:
        deployment = await self.client.read_deployment_by_name(f"{flow.name}/{self.pool}")
        run = await self.client.create_flow_run_from_deployment(
            deployment.id,
            parameters={k: str(v) if isinstance(v, Path) else v for k, v in parameters.items()},
            job_variables=variables,
        )
        if self.worker is not None:
            self.worker.poke()
        return run

    async def state(self, run: FlowRun | UUID) -> State[Any]:
        state = (await self.client.read_flow_run(run if isinstance(run, UUID) else run.id)).state
        assert state is not None
        return state

    async def end(self, run: FlowRun, seconds: float = 60) -> State[Any]:
        """Its state once that is final."""
        found: list[State[Any]] = []

        async def is_final() -> bool:
            found[:] = [await self.state(run)]
            return found[0].is_final()

        await until(is_final, seconds, f"{run.name} has ended")
        return found[0]

    async def cancel(self, run: FlowRun) -> None:
        await self.client.set_flow_run_state(run.id, Cancelling())

    async def logs(self, run: FlowRun) -> str:
        answer = await self.client._client.post(
            "/logs/filter", json={"logs": {"flow_run_id": {"any_": [str(run.id)]}}, "limit": 200}
        )
        return "\n".join(line["message"] for line in answer.json())


async def deploy(
    client: PrefectClient, pool: str, kind: str, variables: dict[str, Any], flows: list[Flow[..., Any]]
) -> None:
    """A pool of the kind and a deployment in it for each flow."""
    worker = BaseWorker.get_worker_class_from_type(kind)
    assert worker is not None
    template = worker.get_default_base_job_template()
    with suppress(Exception):
        await client.create_work_pool(WorkPoolCreate(name=pool, type=kind, base_job_template=template))
    for flow in flows:
        await client.create_deployment(
            flow_id=await client.create_flow(flow),
            name=pool,
            entrypoint=f"tests.worker.trial_flows.{flow.fn.__name__}",
            work_pool_name=pool,
            pull_steps=[],
            job_variables=variables,
            parameter_openapi_schema=flow.parameters.model_dump(),
            enforce_parameter_schema=False,
        )


async def told(folder: Path, name: str, seconds: float = 40) -> dict[str, Any]:
    """What a flow has told under this name, once it has."""
    path = folder / f"{name}.json"
    await until(path.exists, seconds, f"{path} exists")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


async def until(question: Callable[[], Any], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.05)


def children(parent: int) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(entry.name)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def resident_kb(pid: int) -> int:
    """Memory that only this process has, in kB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(("Private_", "Pss_Anon")))


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _is_run(pid: int) -> bool:
    """Whether it leads a session that is not the fork server's: a run keeps the fork server's command line."""
    with suppress(OSError):
        return b"run-" in str(Path(f"/proc/{pid}/cwd").readlink()).encode()
    return False
