"""Flow runs: made for jobs, looked at, cancelled, put right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort

from api.orchestrator.connection import BRIEF_SECONDS, PAGE
from api.orchestrator.deployments import Deployments
from flows.core.domain import Job, Priority
from flows.core.errors import NotFound

MOST_DUE_RUNS = 2000
RECENTLY = timedelta(minutes=3)
LATELY = timedelta(minutes=10)


@dataclass(frozen=True)
class RunState:
    """A flow run as Prefect has it now."""

    flow_run: FlowRun
    state: State[Any] | None


class Runs(Deployments):
    async def create_run(self, job: Job) -> UUID:
        """The flow run of a job: a new one, or the one that an earlier call has created.

        Raises NotFound where the type is not deployed, Conflict or Refused where Prefect will never take the job.
        """
        try:
            run = await self._create_run(job, await self.deployment_id(job.job_type))
        except NotFound:
            # The deployment was made anew since we looked.
            self.deployment_ids.pop(job.job_type, None)
            run = await self._create_run(job, await self.deployment_id(job.job_type))
        return run.id

    async def _create_run(self, job: Job, deployment_id: UUID) -> FlowRun:
        async with self.asking("create a run"):
            return await self.client.create_flow_run_from_deployment(
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
            async with self.asking("read runs"):
                runs = await self.client.read_flow_runs(flow_run_filter=wanted, limit=PAGE)
            states |= {run.id: RunState(run, run.state) for run in runs}
        return states

    async def runs_in_motion(self) -> list[UUID]:
        """Runs of our deployments that move, or have stopped in the last minutes, newest first; a few pages at most."""
        if not self.job_types:
            return []
        found: list[UUID] = []
        moving = FlowRunFilterState(
            type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED])
        )
        ended = FlowRunFilterEndTime(after_=datetime.now(UTC) - LATELY)
        for wanted in (FlowRunFilter(state=moving), FlowRunFilter(end_time=ended)):
            async with self.asking("read runs in motion"):
                runs = await self.client.read_flow_runs(
                    deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(self.job_types))),
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
        if not self.job_types:
            return []
        waiting = await self._runs_of_ours([StateType.SCHEDULED, StateType.PENDING], None)
        ended = [StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
        stillborn = [run for run in await self._runs_of_ours(ended, RECENTLY) if not _was_dispatched(run)]
        runs = [*waiting, *stillborn]
        return [(self.job_types[run.deployment_id], run) for run in runs if run.deployment_id in self.job_types]

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
        async with self.asking("read due runs"):
            return await self.client.read_flow_runs(
                deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(self.job_types))),
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
            async with self.asking("cancel a run"):
                await self.client.set_flow_run_state(flow_run_id, State(type=StateType.CANCELLING))
        except NotFound:
            return

    async def force_state(self, flow_run_id: UUID, state: State) -> None:
        """Sets a run's state whatever Prefect's rules say: the row is the truth. A run that is gone stays gone."""
        try:
            async with self.asking("put a run right"):
                await self.client.set_flow_run_state(flow_run_id, state, force=True)
        except NotFound:
            return

    async def run_now(self, flow_run_id: UUID) -> RunState | None:
        """The run and its state; None where Prefect has no such run (any more)."""
        try:
            async with self.asking("read a run", BRIEF_SECONDS):
                run = await self.client.read_flow_run(flow_run_id)
        except NotFound:
            return None
        return RunState(run, run.state)


def _was_dispatched(run: FlowRun) -> bool:
    """True for a run whose idempotency key is a job's: its row is older than the run."""
    try:
        UUID((run.idempotency_key or "").partition("/")[0])
    except ValueError:
        return False
    return True
