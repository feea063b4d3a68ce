"""Prefect's own machinery for a run's life (executor, cancellation, hooks, control channel), once for the whole worker.

Prefect's process worker builds all of it anew for each run, with a client and a websocket of its own each time.
Ours differs in how a process is started (forked), how it is ended (at once, with all it has started), where hooks run
(in a fork of their own) and in what a crash is called.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from contextlib import AsyncExitStack
from typing import Any, Self
from uuid import UUID

import anyio
import anyio.abc
import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Abort, ObjectNotFound
from prefect.runner._cancellation_manager import CancellationManager
from prefect.runner._control_channel import ControlSignalStatus
from prefect.runner._event_emitter import EventEmitter
from prefect.runner._flow_run_executor import FlowRunExecutor
from prefect.runner._process_manager import ProcessHandle
from prefect.runner._state_proposer import StateProposer
from prefect.states import Cancelled, Crashed
from prefect.utilities.engine import propose_state

from flows.core.domain import JobStatus
from flows.core.heartbeat import TOLD_VARIABLE
from worker.cancels import CancelWatch
from worker.control import Control
from worker.crashes import crash_message
from worker.launch import Kind, Launched, Launcher, Order
from worker.processes import Processes, RunProcess, handle_of
from worker.rows import Rows

_HOOKS_SECONDS = 60.0
_PAUSES_SECONDS = (1.0, 2.0, 5.0, 10.0)


class Attempts:
    """All runs that this worker has in hand."""

    def __init__(
        self, client: PrefectClient, launcher: Launcher, logger: logging.Logger | logging.LoggerAdapter[Any]
    ) -> None:
        self.control_channel = Control()
        self.processes = Processes(self.control_channel.is_unheard, on_add=self._on_add, on_remove=self._on_remove)
        self.messages: dict[UUID, str] = {}
        """What the crash of a run is called, once its process has ended."""
        self.cancelled: set[UUID] = set()
        """Runs whose job the row says was cancelled: Prefect is told so, whatever their process died of."""
        self._cancels = CancelWatch(client, self._cancel, logger)
        self._rows = Rows(self._living, self.messages.__setitem__, logger)
        self._client = client
        self._launcher = launcher
        launcher.started = self._on_started
        self._logger = logger
        self._orders: dict[UUID, Order] = {}
        self._begun: dict[UUID, RunProcess] = {}
        self._proposer = _Proposer(client=client, attempts=self)
        self._hooks = _ForkedHooks(self)
        self._stack = AsyncExitStack()
        self._cancels_under_way: dict[UUID, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        emitter = EventEmitter(runner_name="worker", client=self._client)
        await self._stack.enter_async_context(self.processes)
        await self._stack.enter_async_context(emitter)
        await self._stack.enter_async_context(self.control_channel)
        self._cancellation = CancellationManager(
            process_manager=self.processes,
            hook_runner=self._hooks,
            state_proposer=StateProposer(client=self._client),
            event_emitter=emitter,
            client=self._client,
            control_channel=self.control_channel,
        )
        await self._stack.enter_async_context(self._cancels)
        await self._stack.enter_async_context(self._rows)
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._cancels_under_way:
            await asyncio.wait(self._cancels_under_way.values())
        await self._stack.__aexit__(None, None, None)

    def watch(self, flow_run_id: UUID) -> None:
        """From here on a cancel of this run is heard, also while it is only being started."""
        self._cancels.add(flow_run_id)

    def is_cancelling(self, flow_run_id: UUID) -> bool:
        return flow_run_id in self._cancels.heard

    async def settled(self, flow_run_id: UUID) -> None:
        """Returns when a cancel of a run whose process has ended is done: its hooks run, its state written."""
        if not self.is_cancelling(flow_run_id):
            return
        task = self._cancels_under_way.pop(flow_run_id, None)
        if task is not None:
            await asyncio.wait([task])
            return
        # It was heard of when the process had just gone by itself: nobody else would end the run.
        flow_run = await self._client.read_flow_run(flow_run_id)
        if flow_run.state is not None and flow_run.state.is_cancelling():
            await StateProposer(client=self._client).propose_cancelled(flow_run, {"message": "Cancelled as it ended."})

    def forget(self, flow_run_id: UUID) -> None:
        self._cancels.remove(flow_run_id)
        self.cancelled.discard(flow_run_id)
        self.messages.pop(flow_run_id, None)
        self._orders.pop(flow_run_id, None)
        self._begun.pop(flow_run_id, None)

    def has_begun(self, flow_run_id: UUID) -> bool:
        """Whether the run has, or had, a process: one that has not can be handed back."""
        return flow_run_id in self._begun

    def version(self, flow_run_id: UUID) -> str | None:
        """The version of the run's flow, where its process does not report it."""
        return self._begun[flow_run_id].version

    async def stop(self, flow_run_id: UUID, message: str, grace_seconds: float) -> None:
        """Ends a run that is not to be cancelled but must stop, and reports it Crashed with the message."""
        process = self._begun.get(flow_run_id)
        order = self._orders.get(flow_run_id)
        if process is None or order is None or self.is_cancelling(flow_run_id):
            return
        self.messages[flow_run_id] = message
        # Told first, the engine leaves the state to us; otherwise it would report a signal and no reason.
        told = await self.control_channel.signal(flow_run_id, "relinquish")
        if told is ControlSignalStatus.ALREADY_CONCLUDED:
            return
        grace_seconds = 0 if self.control_channel.is_unheard(flow_run_id) else grace_seconds
        await process.end(min(grace_seconds, process.grace_seconds))
        if told is ControlSignalStatus.ACKNOWLEDGED:
            state = await self._proposer.propose_crashed(order.flow_run, message)
            if state is not None:
                await self._hooks.run_crashed_hooks(order.flow_run, state)

    def _cancel(self, flow_run_id: UUID) -> None:
        # A run without a process yet is asked for again when it gets one.
        if self.processes.get(flow_run_id) is not None:
            self._cancels_under_way[flow_run_id] = asyncio.create_task(self._cancellation.cancel_by_id(flow_run_id))

    def begin(self, order: Order) -> Attempt:
        """A run that is ready to be started."""
        self._orders[order.flow_run.id] = order
        executor = FlowRunExecutor(
            flow_run=order.flow_run,
            starter=_Starter(self, order),
            process_manager=self.processes,
            state_proposer=self._proposer,
            hook_runner=self._hooks,
            get_attempt_conclusion=self.control_channel.get_conclusion,
            propose_submitting=False,
        )
        return Attempt(executor)

    async def run_process(self, order: Order, task_status: anyio.abc.TaskStatus[ProcessHandle]) -> None:
        """Starts the process of a run and returns when it has ended."""
        flow_run_id = order.flow_run.id
        environment = self._environment(order)
        async with self._launcher.launched(order, environment) as launched:
            task_status.started(handle_of(launched.process))
            await launched.ended()
            self.messages.setdefault(flow_run_id, crash_message(launched, order))
            await self._bury(order, launched)

    async def _bury(self, order: Order, launched: Launched) -> None:
        """Tells the row before Prefect: it is the truth, and may be all there is."""
        flow_run_id = order.flow_run.id
        status = await self._rows.bury(
            flow_run_id,
            launched.process.pid,
            self.messages[flow_run_id],
            by_itself=launched.process.returncode == 0,
            cancelled=self.is_cancelling(flow_run_id),
        )
        if status is JobStatus.CANCELLED:
            self.cancelled.add(flow_run_id)

    def _living(self) -> dict[UUID, RunProcess]:
        """The living processes of runs."""
        return {run: process for run, process in self._begun.items() if process.returncode is None}

    async def run_hooks(self, kind: Kind, flow_run: FlowRun, state: State[Any]) -> None:
        """Runs the hooks of a run in a process of their own, for a minute at most."""
        order = self._orders.get(flow_run.id)
        if order is None:
            return
        order = Order(flow_run, order.configuration, kind=kind, state=state.model_dump(mode="json"))
        async with self._launcher.launched(order, self._environment(order)) as launched:
            try:
                await asyncio.wait_for(launched.ended(), _HOOKS_SECONDS)
            except TimeoutError:
                await launched.process.end(0)
                await launched.ended()
            if launched.process.returncode:
                self._logger.error("The %s of run '%s' died: %s", kind, flow_run.id, crash_message(launched, order))

    def _environment(self, order: Order) -> dict[str, str]:
        environment = {name: value for name, value in order.configuration.env.items() if value is not None}
        if order.kind == "run" and self.control_channel.is_open:
            port, token = self.control_channel.register(order.flow_run.id)
            environment |= {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}
        if self._rows.can_tell:
            environment[TOLD_VARIABLE] = "1"
        return environment

    def _on_started(self, order: Order, process: RunProcess) -> None:
        self.processes.remember(process)
        if order.kind == "run":
            self._begun[order.flow_run.id] = process

    async def _on_add(self, flow_run_id: UUID) -> None:
        if self.is_cancelling(flow_run_id):
            self._cancel(flow_run_id)

    async def _on_remove(self, flow_run_id: UUID) -> None:
        self.control_channel.unregister(flow_run_id)


class Attempt:
    """One run in Prefect's executor."""

    def __init__(self, executor: FlowRunExecutor) -> None:
        self.status_code = 1
        self._executor = executor

    async def run(self, *, task_status: anyio.abc.TaskStatus[int]) -> None:
        """Says its process id when it has one; returns at its end, with a crash reported and its hooks run."""

        async def submit(*, task_status: anyio.abc.TaskStatus[ProcessHandle]) -> None:
            execution = await self._executor.submit(task_status=task_status)
            if execution is not None and execution.status_code is not None:
                self.status_code = execution.status_code

        async with anyio.create_task_group() as group:
            handle = await group.start(submit)
            task_status.started(handle.pid or 0)


class _Starter:
    """Prefect's interface for a way to start processes."""

    def __init__(self, attempts: Attempts, order: Order) -> None:
        self._attempts = attempts
        self._order = order

    async def start(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        assert flow_run.id == self._order.flow_run.id  # noqa: S101
        await self._attempts.run_process(self._order, task_status)


class _ForkedHooks:
    """Prefect's interface for running hooks: here in a fork, because a hook is the flow's code, not the worker's."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    async def run_cancellation_hooks(self, flow_run: FlowRun, state: State[Any]) -> None:
        if state.is_cancelling():
            await self._attempts.run_hooks("cancellation hooks", flow_run, state)

    async def run_crashed_hooks(self, flow_run: FlowRun, state: State[Any]) -> None:
        if state.is_crashed():
            await self._attempts.run_hooks("crashed hooks", flow_run, state)


class _Proposer(StateProposer):
    """Prefect's, with our words for a crash, and patience: an unreported crash leaves a run Running for ever."""

    def __init__(self, *, client: PrefectClient, attempts: Attempts) -> None:
        super().__init__(client=client)
        self._attempts = attempts

    async def propose_crashed(self, flow_run: FlowRun, message: str) -> State[Any] | None:
        """The state that Prefect has now; None where the run is another's to end: being cancelled, ended, deleted."""
        if self._attempts.is_cancelling(flow_run.id):
            return None
        message = self._attempts.messages.get(flow_run.id, message)
        kind = Cancelled if flow_run.id in self._attempts.cancelled else Crashed
        crashed: State[Any] = kind(message=message)
        for pause in itertools.chain(_PAUSES_SECONDS, itertools.repeat(_PAUSES_SECONDS[-1])):
            try:
                return await propose_state(self._client, crashed, flow_run_id=flow_run.id)
            except (Abort, ObjectNotFound):
                return None
            except httpx.HTTPError as error:
                self._logger.warning("The crash of run '%s' cannot be reported yet: %s", flow_run.id, error)
            await asyncio.sleep(pause)
        raise AssertionError
