"""Prefect, in our words: the only module of the shim that speaks to it.

One client a process. Every call is bounded to a few seconds; errors come out as `flows.core.errors`, with
`service="prefect"` where Prefect cannot answer now.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
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
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES
from prefect.states import Crashed

from flows.core.domain import Job, JobType, Priority
from flows.core.errors import Conflict, NotFound, Refused, SchedulerError, Unavailable
from flows.core.redaction import redact

TIMEOUT_SECONDS = 5.0
PAGE = 200  # what Prefect's filters answer at most
MOST_DUE_RUNS = 2000
RECENTLY = timedelta(minutes=3)
_SERVICE = "prefect"


@dataclass(frozen=True)
class Deployment:
    """A job type as it is deployed; `parameter_schema` has the deployment's own parameters as its defaults."""

    job_type: str
    deployment_id: UUID
    description: str | None
    parameter_schema: dict[str, Any]


class Orchestrator:
    """Prefect's API. Use it inside `opened()`; opening does not call Prefect, which may be down."""

    def __init__(
        self, api_url: str, auth_string: str | None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        settings: dict[str, Any] = {"timeout": TIMEOUT_SECONDS, "follow_redirects": False}
        if transport is not None:
            settings["transport"] = transport
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
    async def _asking(self, purpose: str) -> AsyncIterator[None]:
        """Bounds a call of Prefect and gives its errors our names. What Prefect says of a refusal is redacted."""
        try:
            with SettingsContext(profile=self._profile, settings=self._settings):
                async with asyncio.timeout(TIMEOUT_SECONDS):
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
        return [_deployment(one) for one in found]

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

    async def run_states(self, flow_run_ids: Sequence[UUID]) -> dict[UUID, State[Any] | None]:
        """The state of each of these runs that Prefect still has."""
        states: dict[UUID, State[Any] | None] = {}
        for start in range(0, len(flow_run_ids), PAGE):
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=list(flow_run_ids[start : start + PAGE])))
            async with self._asking("read runs"):
                runs = await self._client.read_flow_runs(flow_run_filter=wanted, limit=PAGE)
            states |= {run.id: run.state for run in runs}
        return states

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

    async def crash_run(self, flow_run_id: UUID, reason: str) -> None:
        """Forces a run that has not ended to Crashed: its row has ended as dead."""
        async with self._asking("crash a run"):
            runs = await self._client.read_flow_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
            )
            if runs and not (runs[0].state and runs[0].state.is_final()):
                await self._client.set_flow_run_state(flow_run_id, Crashed(message=reason), force=True)


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
