"""The worker type `forkserver`: Prefect's BaseWorker with a fast way to start runs, a wake-up and a drain.

Prefect's makes eight requests one after the other before a run's process starts. Ours makes the three that decide
anything at once, and those that only inform people a second later.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Callable
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
import httpx
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.objects import Flow, FlowRun, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import InfrastructureNotFound, ObjectNotFound
from prefect.states import Scheduled
from prefect.workers.base import BaseWorker

from worker import csrf, storage
from worker.attempts import Attempts
from worker.cgroups import Controllers
from worker.clean import PR_SET_CHILD_SUBREAPER, prctl
from worker.configuration import ForkConfiguration, ForkResult, ForkVariables, base_environment
from worker.launch import Launcher, Order
from worker.lifecycle import Lifecycle
from worker.requests import MARK_VARIABLE
from worker.servers import ForkServers
from worker.settings import Settings
from worker.strays import Strays

# What people look at; a run that starts need not wait for it.
_DETAILS_AFTER_SECONDS = 1.0


class ForkWorker(BaseWorker[ForkConfiguration, ForkVariables, ForkResult]):
    type = "forkserver"
    job_configuration = ForkConfiguration
    job_configuration_variables = ForkVariables
    _description = (
        "Start each flow run as a fork of a process that has Prefect and the flows imported: isolated, limited in"
        " memory, CPU time and processes, and at its first line a quarter of a second after the trigger."
    )
    _display_name = "Fork server"

    def __init__(self, *arguments: Any, settings: Settings | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.settings = settings or Settings()
        self.servers = ForkServers(self._logger, self.settings.forks)
        self.strays = Strays(self._known_processes)
        self.lifecycle = Lifecycle(self)
        self.controllers = Controllers()
        self._launcher: Launcher | None = None
        self._attempts: Attempts | None = None
        self._flows: dict[UUID, Flow] = {}
        self._details: set[asyncio.Task[None]] = set()
        self._polling = asyncio.Lock()

    # What BaseWorker asks its types for

    async def setup(self) -> None:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.controllers = Controllers.find()
        await super().setup()
        if not await csrf.wants_tokens(self.client):
            # A run that knows it saves a request of 20 ms.
            os.environ["PREFECT_CLIENT_CSRF_SUPPORT_ENABLED"] = "false"
        launcher = Launcher(self.servers, self.controllers, self.settings.run_as)
        for line in launcher.describe_limits():
            self._logger.info(line)
        self._attempts = await self._exit_stack.enter_async_context(Attempts(self.client, launcher, self._logger))
        self._exit_stack.callback(self.servers.close)
        self._launcher = launcher
        await self._ask_for_storage()
        self.servers.preload |= {name for name in self.settings.preload.split(",") if name}
        self.servers.environment = self._server_environment()

    async def start(  # the base's signature; its health check is not used, see Settings for ours
        self,
        run_once: bool = False,  # noqa: FBT001, FBT002
        with_healthcheck: bool = False,  # noqa: ARG002, FBT001, FBT002
        printer: Callable[..., None] = print,
    ) -> None:
        """Polls until SIGTERM or SIGINT, then drains."""
        async with self:
            await self.lifecycle.run(once=run_once, printer=printer)
        printer(f"Worker {self.name!r} stopped!")

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ForkConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ForkResult:
        """Runs a flow run to its end; a crash is reported here, with its reason."""
        return await self._execute(Order(flow_run, configuration), task_status or anyio.TASK_STATUS_IGNORED)

    async def kill_infrastructure(
        self, infrastructure_pid: str, configuration: ForkConfiguration, grace_seconds: int = 30
    ) -> None:
        """Ends a run by its process id. Raises InfrastructureNotFound when it is none of this worker's."""
        process = self.attempts.processes.by_pid(infrastructure_pid)
        if process is None:
            raise InfrastructureNotFound(f"process {infrastructure_pid} is not a run of this worker")
        await process.end(min(grace_seconds, configuration.grace_seconds))

    async def _setup_cancellation_observer(self) -> None:
        """Nothing: `Attempts` hears of cancels from the moment a run is taken on to its end."""

    async def _sync_and_initialize(self) -> None:
        try:
            await super()._sync_and_initialize()
        finally:
            await self._ask_for_storage()

    async def _ask_for_storage(self) -> None:
        """Anew with each heartbeat: an operator may give the server a storage at any time."""
        if self._launcher is not None:
            self._launcher.no_default_storage = not await storage.has_default(self.client)

    def _record_work_pool_snapshot(self, work_pool: WorkPool) -> None:
        super()._record_work_pool_snapshot(work_pool)
        if self._attempts is not None:
            self.servers.environment = self._server_environment()

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """As Prefect's; one at a time, and none while the worker is ending."""
        async with self._polling:
            return [] if self.lifecycle.is_ending else await super().get_and_submit_flow_runs()

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """Takes a run on and sees it to its end. Nothing that goes wrong here may reach the other runs."""
        scope = self.lifecycle.in_hand[flow_run.id] = anyio.CancelScope()
        self.attempts.watch(flow_run.id)
        try:
            order = await self._take(flow_run)
            if order is not None:
                with scope:
                    await self._execute(order, anyio.TASK_STATUS_IGNORED)
                if scope.cancelled_caught:
                    await self._hand_back(flow_run)
        except Exception as error:  # noqa: BLE001  # it is reported where the run is looked at
            self.get_flow_run_logger(flow_run).exception("Flow run '%s' could not be started.", flow_run.name)
            await self._propose_crashed_state(flow_run, f"The run could not be started: {error}")
        finally:
            self._submitting_flow_run_ids.discard(flow_run.id)
            self.attempts.forget(flow_run.id)
            self._release_limit_slot(flow_run.id)
            self.lifecycle.in_hand.pop(flow_run.id, None)
            self.strays.look_now()
            if self._limiter is not None:
                self.lifecycle.poll_now()

    # Our way from a due run to its process

    @property
    def attempts(self) -> Attempts:
        if self._attempts is None:
            raise RuntimeError("the worker has not been set up")
        return self._attempts

    async def preload_from_deployments(self) -> None:
        """Has the fork server import what the pool's deployments run."""
        deployments = await self.client.read_deployments(
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[self._work_pool_name]))
        )
        self.servers.preload |= {module for each in deployments if (module := _module(each)) is not None}

    async def _take(self, flow_run: FlowRun) -> Order | None:
        """What to start; None when it is not ours: taken by another worker, cancelled, deleted, or we are ending."""
        flow, deployment, is_ours = await asyncio.gather(
            self._flow(flow_run), self._deployment(flow_run), self._propose_pending_state(flow_run)
        )
        if not is_ours:
            return None
        # What is handed out lacks them, and events of the run are about them.
        flow_run.work_pool_id, flow_run.work_pool_name = self.work_pool.id, self.work_pool.name
        if flow_run.deployment_id is not None and deployment is None:
            message = f"Deployment {flow_run.deployment_id} no longer exists, cancelled run."
            await self._mark_flow_run_as_cancelled(flow_run, {"message": message})
            return None
        order = Order(flow_run, await self._configure(flow_run, deployment, flow), _entrypoint(deployment))
        if (module := _module(deployment)) is not None:
            self.servers.preload.add(module)
        if self.attempts.is_cancelling(flow_run.id):
            await self._mark_flow_run_as_cancelled(flow_run, {"message": "Cancelled before it was started."})
            return None
        if self.lifecycle.is_ending:
            await self._hand_back(flow_run)
            return None
        return order

    async def _flow(self, flow_run: FlowRun) -> Flow:
        """Kept, because of a flow only its name and tags are used, for events and labels."""
        if flow_run.flow_id not in self._flows:
            self._flows[flow_run.flow_id] = await self.client.read_flow(flow_run.flow_id)
        return self._flows[flow_run.flow_id]

    async def _deployment(self, flow_run: FlowRun) -> DeploymentResponse | None:
        if flow_run.deployment_id is None:
            return None
        try:
            return await self.client.read_deployment(flow_run.deployment_id)
        except ObjectNotFound:
            return None

    async def _configure(
        self, flow_run: FlowRun, deployment: DeploymentResponse | None, flow: Flow
    ) -> ForkConfiguration:
        """As BaseJobConfiguration.resolve_for_flow_run, with the flow and the deployment already read."""
        values = dict(deployment.job_variables or {}) if deployment is not None else {}
        own = dict(flow_run.job_variables or {})
        if isinstance(values.get("env"), dict):
            values["env"] = values["env"] | own.pop("env", {})
        work_pool = copy.deepcopy(self.work_pool)
        configuration: ForkConfiguration = await self.job_configuration.from_template_and_values(
            base_job_template=work_pool.base_job_template, values=values | own, client=self.client
        )
        configuration.prepare_for_flow_run(flow_run, deployment, flow, work_pool, self.name, self.backend_id)
        return configuration

    async def _execute(self, order: Order, task_status: anyio.abc.TaskStatus[int]) -> ForkResult:
        submitted = self._emit_flow_run_submitted_event(order.configuration)
        async with anyio.create_task_group() as group:
            attempt = self.attempts.begin(order)
            pid = await group.start(attempt.run)
            task_status.started(pid)
            version = self.attempts.version(order.flow_run.id)
            self._in_background(self._add_details(order.flow_run, pid, version))
        await self.attempts.settled(order.flow_run.id)
        result = ForkResult(identifier=str(pid), status_code=attempt.status_code)
        self._emit_flow_run_executed_event(result, order.configuration, submitted)
        return result

    async def _hand_back(self, flow_run: FlowRun) -> None:
        """Lets another worker have it. Only for a run without a process: a running one would be run twice."""
        await self.client.set_flow_run_state(flow_run.id, Scheduled(message="Handed back: the worker is ending."))
        self.get_flow_run_logger(flow_run).info("Handed back '%s': the worker is ending", flow_run.name)

    async def _add_details(self, flow_run: FlowRun, pid: int, version: str | None) -> None:
        await asyncio.sleep(_DETAILS_AFTER_SECONDS)
        try:
            await self.client.update_flow_run(flow_run.id, flow_version=version, infrastructure_pid=str(pid))
            await self._give_worker_labels_to_flow_run(flow_run.id)
        except (httpx.HTTPError, ObjectNotFound) as error:
            self._logger.debug("Flow run '%s' goes without labels: %s", flow_run.id, error)

    def _in_background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._details.add(task)
        task.add_done_callback(self._details.discard)

    def _server_environment(self) -> dict[str, str]:
        """The worker's own, and what the pool's template gives every run."""
        properties = self._work_pool.base_job_template["variables"].get("properties", {}) if self._work_pool else {}
        given = properties.get("env", {}).get("default") or {}
        texts = {name: str(value) for name, value in given.items() if value is not None}
        return base_environment() | texts | {MARK_VARIABLE: self.strays.mark}

    def _known_processes(self) -> list[int] | None:
        return None if self.servers.is_forking else [*self.servers.pids, *self.attempts.processes.pids]


def _module(deployment: DeploymentResponse | None) -> str | None:
    entrypoint = _entrypoint(deployment)
    return None if entrypoint is None else entrypoint.rpartition(".")[0]


def _entrypoint(deployment: DeploymentResponse | None) -> str | None:
    """The module path of a flow whose code is installed; None when Prefect has to fetch it or find it."""
    if deployment is None or deployment.entrypoint is None or deployment.pull_steps or ":" in deployment.entrypoint:
        return None
    return deployment.entrypoint
