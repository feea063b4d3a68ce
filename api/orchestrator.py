"""Prefect, in our words: the only module of the shim that speaks to it.

One client a process. Every call is bounded to a few seconds; errors come out as `flows.core.errors`, with
`service="prefect"` where Prefect cannot answer now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterName,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    LogFilter,
    LogFilterFlowRunId,
    LogFilterLevel,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort, LogSort
from prefect.context import SettingsContext, get_settings_context
from prefect.events.filters import EventFilter, EventNameFilter, EventRelatedFilter
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES

from flows.core.domain import Job, JobType, Priority
from flows.core.errors import Conflict, NotFound, Refused, SchedulerError, Unavailable
from flows.core.redaction import redact

TIMEOUT_SECONDS = 5.0
BRIEF_SECONDS = 2.0  # for questions that somebody waits for
PAGE = 200  # what Prefect's filters answer at most
MOST_DUE_RUNS = 2000
RECENTLY = timedelta(minutes=3)
LATELY = timedelta(minutes=10)
_SERVICE = "prefect"
_POD = "prefect.kubernetes.pod."


@dataclass(frozen=True)
class Deployment:
    """A job type as it is deployed; `parameter_schema` has the deployment's own parameters as its defaults."""

    job_type: str
    deployment_id: UUID
    description: str | None
    parameter_schema: dict[str, Any]


@dataclass(frozen=True)
class RunState:
    """A flow run as Prefect has it now."""

    flow_run: FlowRun
    state: State[Any] | None


@dataclass(frozen=True)
class WorkerSign:
    """The last sign of life of a work pool: the worker it came from, and when."""

    worker: str
    heard_at: datetime
    interval_seconds: int


@dataclass(frozen=True)
class PodSign:
    """What Kubernetes told last of a run's pod: its phase in small letters, since when, and what is wrong with it."""

    pod: str
    phase: str
    since: datetime
    diagnosis: str | None


@dataclass(frozen=True)
class LogLine:
    message: str
    at: datetime


class Orchestrator:
    """Prefect's API. Use it inside `opened()`; opening does not call Prefect, which may be down."""

    def __init__(
        self, api_url: str, auth_string: str | None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        settings: dict[str, Any] = {"timeout": TIMEOUT_SECONDS, "follow_redirects": False}
        if transport is not None:
            settings["transport"] = transport
        self.api_url = api_url
        self.pool_type: str | None = None
        """Type of the pool that our deployments run on, once Prefect has told it."""
        self.down_since: datetime | None = None
        """When Prefect was first asked in vain since it last answered; None while it answers."""
        self._client = PrefectClient(api_url, auth_string=auth_string, httpx_settings=settings)
        # Prefect's client would repeat a call for minutes while Prefect is down; our sweep repeats it anyway.
        current = get_settings_context()
        self._profile = current.profile
        self._settings = current.settings.copy_with_update(updates={PREFECT_CLIENT_MAX_RETRIES: 0})
        self._deployment_ids: dict[str, UUID] = {}
        self._job_types: dict[UUID, str] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Orchestrator]:
        async with self._client:
            yield self

    @asynccontextmanager
    async def _asking(self, purpose: str, seconds: float = TIMEOUT_SECONDS) -> AsyncIterator[None]:
        """Bounds a call of Prefect, gives its errors our names and notes whether it answers."""
        try:
            async with self._translated(purpose, seconds):
                yield
        except Unavailable:
            self.down_since = self.down_since or datetime.now(UTC)
            raise
        except SchedulerError:
            self.down_since = None
            raise
        self.down_since = None

    @asynccontextmanager
    async def _translated(self, purpose: str, seconds: float) -> AsyncIterator[None]:
        """Errors come out as ours. What Prefect says of a refusal is redacted."""
        try:
            with SettingsContext(profile=self._profile, settings=self._settings):
                async with asyncio.timeout(seconds):
                    yield
        except ObjectNotFound as error:
            raise NotFound(f"Prefect does not know what was asked for (to {purpose})") from error
        except httpx.HTTPStatusError as error:
            raise _refusal(purpose, error.response) from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable(f"Prefect cannot be reached (to {purpose}: {type(error).__name__})", _SERVICE) from error
        except ValueError as error:
            # Not JSON, or not of Prefect's shape: something else answers at its address.
            raise Unavailable(f"Prefect answered something that is not its own (to {purpose})", _SERVICE) from error

    async def check(self) -> None:
        """Returns when Prefect answers an authorized question; raises what is wrong otherwise."""
        async with self._asking("answer"):
            await self._client.read_deployments(limit=1)

    async def deployments(self) -> list[Deployment]:
        """Every job type that is deployed."""
        names = [job_type.value for job_type in JobType]
        async with self._asking("list deployments"):
            found = await self._client.read_deployments(
                flow_filter=FlowFilter(name=FlowFilterName(any_=names)),
                deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=names)),
            )
        self._deployment_ids = {deployment.name: deployment.id for deployment in found}
        self._job_types = {deployment.id: deployment.name for deployment in found}
        await self._read_pool_type(found)
        return [_deployment(one) for one in found]

    async def _read_pool_type(self, deployments: list[DeploymentResponse]) -> None:
        pools = {deployment.work_pool_name for deployment in deployments if deployment.work_pool_name}
        for pool in sorted(pools)[:1]:
            with suppress(NotFound):
                async with self._asking("read the work pool"):
                    self.pool_type = (await self._client.read_work_pool(pool)).type

    async def create_run(self, job: Job) -> UUID:
        """The flow run of a job: a new one, or the one that an earlier call has created.

        Raises NotFound where the type is not deployed, Conflict or Refused where Prefect will never take the job.
        """
        try:
            run = await self._create_run(job, await self._deployment_id(job.job_type))
        except NotFound:
            # The deployment was made anew since we looked.
            self._deployment_ids.pop(job.job_type, None)
            run = await self._create_run(job, await self._deployment_id(job.job_type))
        return run.id

    async def _deployment_id(self, job_type: str) -> UUID:
        if job_type not in self._deployment_ids:
            async with self._asking(f"find deployment {job_type}/{job_type}"):
                found = await self._client.read_deployment_by_name(f"{job_type}/{job_type}")
            self._deployment_ids[job_type] = found.id
        return self._deployment_ids[job_type]

    async def _create_run(self, job: Job, deployment_id: UUID) -> FlowRun:
        async with self._asking("create a run"):
            return await self._client.create_flow_run_from_deployment(
                deployment_id,
                parameters=job.parameters or {},
                name=f"{job.job_type} {job.created_at.astimezone(UTC):%Y-%m-%d %H:%M}",
                tags=[job.job_type, *([job.origin.value] if job.origin else [])],
                idempotency_key=job.idempotency_key,
                work_queue_name=(job.priority or Priority.MEDIUM).work_queue,
            )

    async def run_states(self, flow_run_ids: Sequence[UUID]) -> dict[UUID, RunState]:
        """Each of these runs that Prefect still has, with its state."""
        states: dict[UUID, RunState] = {}
        for start in range(0, len(flow_run_ids), PAGE):
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=list(flow_run_ids[start : start + PAGE])))
            async with self._asking("read runs"):
                runs = await self._client.read_flow_runs(flow_run_filter=wanted, limit=PAGE)
            states |= {run.id: RunState(run, run.state) for run in runs}
        return states

    async def runs_in_motion(self) -> list[UUID]:
        """Runs of our deployments that move, or have stopped in the last minutes, newest first; a few pages at most."""
        if not self._job_types:
            return []
        found: list[UUID] = []
        moving = FlowRunFilterState(
            type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED])
        )
        ended = FlowRunFilterEndTime(after_=datetime.now(UTC) - LATELY)
        for wanted in (FlowRunFilter(state=moving), FlowRunFilter(end_time=ended)):
            async with self._asking("read runs in motion"):
                runs = await self._client.read_flow_runs(
                    deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(self._job_types))),
                    flow_run_filter=wanted,
                    sort=FlowRunSort.START_TIME_DESC,
                    limit=PAGE,
                )
            found += [run.id for run in runs]
        return found

    async def due_runs(self) -> list[tuple[str, FlowRun]]:
        """Runs of our deployments that need a row, with their job type.

        Those that should have started by now and have not; and those that nobody dispatched and that ended badly a
        moment ago, maybe before their process could write a row.
        """
        if not self._job_types:
            return []
        waiting = await self._runs_of_ours([StateType.SCHEDULED, StateType.PENDING], None)
        ended = [StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
        stillborn = [run for run in await self._runs_of_ours(ended, RECENTLY) if not _was_dispatched(run)]
        runs = [*waiting, *stillborn]
        return [(self._job_types[run.deployment_id], run) for run in runs if run.deployment_id in self._job_types]

    async def _runs_of_ours(self, types: list[StateType], within: timedelta | None) -> list[FlowRun]:
        """Due runs of our deployments in these states, newest first."""
        found: list[FlowRun] = []
        # More than a page of them have gathered when no worker ran for a day.
        while len(found) % PAGE == 0 and len(found) < MOST_DUE_RUNS:
            page = await self._page_of_ours(types, within, len(found))
            found += page
            if not page:
                break
        return found

    async def _page_of_ours(self, types: list[StateType], within: timedelta | None, offset: int) -> list[FlowRun]:
        now = datetime.now(UTC)
        after = now - within if within else None
        async with self._asking("read due runs"):
            return await self._client.read_flow_runs(
                deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(self._job_types))),
                flow_run_filter=FlowRunFilter(
                    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types)),
                    expected_start_time=FlowRunFilterExpectedStartTime(before_=now, after_=after),
                ),
                sort=FlowRunSort.EXPECTED_START_TIME_DESC,
                limit=PAGE,
                offset=offset,
            )

    async def cancel_run(self, flow_run_id: UUID) -> None:
        """Asks Prefect to cancel a run; one that has ended or is gone is left as it is."""
        try:
            async with self._asking("cancel a run"):
                await self._client.set_flow_run_state(flow_run_id, State(type=StateType.CANCELLING))
        except NotFound:
            return

    async def force_state(self, flow_run_id: UUID, state: State) -> None:
        """Sets a run's state whatever Prefect's rules say: the row is the truth. A run that is gone stays gone."""
        try:
            async with self._asking("put a run right"):
                await self._client.set_flow_run_state(flow_run_id, state, force=True)
        except NotFound:
            return

    async def newest_worker(self, pool: str) -> WorkerSign | None:
        """The last sign of life of any worker of the pool; None where there has never been one."""
        try:
            async with self._asking("read the workers", BRIEF_SECONDS):
                workers = await self._client.read_workers_for_work_pool(pool, limit=5)  # newest first
        except NotFound:
            return None
        signs = [
            WorkerSign(worker.name, worker.last_heartbeat_time, worker.heartbeat_interval_seconds or 30)
            for worker in workers
            if worker.last_heartbeat_time
        ]
        return max(signs, key=lambda sign: sign.heard_at, default=None)

    async def run_now(self, flow_run_id: UUID) -> RunState | None:
        """The run and its state; None where Prefect has no such run (any more)."""
        try:
            async with self._asking("read a run", BRIEF_SECONDS):
                run = await self._client.read_flow_run(flow_run_id)
        except NotFound:
            return None
        return RunState(run, run.state)

    async def newest_pod_event(self, flow_run_id: UUID) -> PodSign | None:
        """What the Kubernetes worker's observer told last of the run's pod; None where it told nothing."""
        wanted = EventFilter(
            event=EventNameFilter(prefix=[_POD]),
            related=EventRelatedFilter(id=[f"prefect.flow-run.{flow_run_id}"], role=["flow-run"]),
        )
        async with self._asking("read events of the pod", BRIEF_SECONDS):
            events = (await self._client.read_events(wanted, limit=20)).events
        if not events:
            return None
        # Several can be of one instant: a pod that waits is as old with a diagnosis as it was without one.
        newest = max(events, key=lambda event: (event.received, event.occurred))
        labels = newest.resource.root
        diagnosis = labels.get("kubernetes.diagnosis") or labels.get("kubernetes.reason")
        name = labels.get("prefect.resource.name") or newest.resource.id.removeprefix(_POD)
        return PodSign(name, newest.event.removeprefix(_POD), newest.occurred, diagnosis)

    async def newest_complaint(self, flow_run_id: UUID) -> LogLine | None:
        """The newest line that the run has logged at WARNING or worse."""
        wanted = LogFilter(
            flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]), level=LogFilterLevel(ge_=logging.WARNING)
        )
        async with self._asking("read logs", BRIEF_SECONDS):
            lines = await self._client.read_logs(wanted, limit=1, sort=LogSort.TIMESTAMP_DESC)
        return LogLine(lines[0].message, lines[0].timestamp) if lines else None


def _was_dispatched(run: FlowRun) -> bool:
    """True for a run whose idempotency key is a job's: its row is older than the run."""
    try:
        UUID((run.idempotency_key or "").partition("/")[0])
    except ValueError:
        return False
    return True


def _refusal(purpose: str, response: httpx.Response) -> SchedulerError:
    status = response.status_code
    if status == httpx.codes.NOT_FOUND:
        return NotFound(f"Prefect does not know what was asked for (to {purpose})")
    if status in (httpx.codes.CONFLICT, httpx.codes.UNPROCESSABLE_ENTITY, httpx.codes.BAD_REQUEST):
        kind = Conflict if status == httpx.codes.CONFLICT else Refused
        return kind(f"Prefect refused to {purpose} ({status}): {redact(_detail(response), limit=300)}")
    return Unavailable(f"Prefect answered {status} (to {purpose})", _SERVICE)


def _detail(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return "no reason given"
    return str(body.get("detail") or body.get("exception_detail") or body) if isinstance(body, dict) else str(body)


def _deployment(found: DeploymentResponse) -> Deployment:
    schema = dict(found.parameter_openapi_schema or {})
    properties = {name: dict(one) for name, one in (schema.get("properties") or {}).items()}
    for name, value in (found.parameters or {}).items():
        properties.setdefault(name, {})["default"] = value
    return Deployment(found.name, found.id, found.description, {**schema, "properties": properties})
