"""Makes rows and flow runs agree, in loops of their own: an outage of Prefect must not keep dead leases alive.

Until a process has taken a job's lease, Prefect's terminal states move the row; from then on Prefect follows the row.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, State, StateType

from api.background import Troubles
from api.catalogue import Catalogue
from api.orchestrator import Orchestrator
from flows.core import scheduled_jobs
from flows.core.domain import Job, Origin
from flows.core.errors import SchedulerError
from flows.core.prefect_states import ended_status
from flows.core.redaction import redact

# A due run has its row within 30 s, also when a look or two at Prefect fails.
LOOK_SECONDS = 10.0
MOST_JOBS = 1000
# As long as a lease lives: what a worker has taken on and nobody has begun by then is dead.
UNSTARTED_AFTER = timedelta(seconds=90)

logger = logging.getLogger(__name__)


class Reconciler:
    def __init__(self, orchestrator: Orchestrator, catalogue: Catalogue, sweep_seconds: float) -> None:
        self._orchestrator = orchestrator
        self._catalogue = catalogue
        self._sweep_seconds = sweep_seconds
        self._troubles = Troubles(logger)
        self._prefect_answers_since: float | None = None
        self._with_row: set[UUID] = set()

    async def run(self) -> None:
        """Sweeps until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._sweep_leases())
            loops.create_task(self._sweep_runs())
            loops.create_task(self._sweep_prefect())

    async def _sweep_leases(self) -> None:
        while True:
            async with self._troubles.noted("sweep of dead leases"):
                await self.reap()
            await asyncio.sleep(self._sweep_seconds)

    async def _sweep_runs(self) -> None:
        while True:
            async with self._troubles.noted("sweep of dead runs"):
                await self.crash_dead_runs()
            async with self._troubles.noted("sweep of runs that did not start"):
                await self.settle_unstarted()
            await asyncio.sleep(self._sweep_seconds)

    async def _sweep_prefect(self) -> None:
        while True:
            async with self._troubles.noted("reading of the kept job types"):
                await self._catalogue.load_once()
            async with self._troubles.noted("look at the deployments"):
                await self._catalogue.refresh(self._orchestrator)
            async with self._troubles.noted("look for due runs"):
                await self.adopt_due_runs()
            await asyncio.sleep(LOOK_SECONDS)

    async def reap(self) -> None:
        """Fails the jobs whose lease is dead; their runs are crashed by the next sweep of runs."""
        for job in await scheduled_jobs.reap_dead_leases():
            logger.warning("Job died: %s", job.error, extra={"job_id": job.id, "flow_run_id": job.flow_run_id})

    async def crash_dead_runs(self) -> None:
        """Makes Prefect follow the rows of dead jobs; what fails stays for the next sweep, of any replica."""
        for job in await scheduled_jobs.runs_to_crash(MOST_JOBS):
            async with self._troubles.noted(f"crash of the flow run of job {job.id}"):
                if job.flow_run_id is not None:
                    await self._orchestrator.crash_run(job.flow_run_id, job.error or "lease lost")
                await scheduled_jobs.record_crash(job.id)

    async def settle_unstarted(self) -> None:
        """Asks Prefect about dispatched jobs that no process has taken: their runs may have ended or be gone."""
        jobs = [job for job in await scheduled_jobs.dispatched_and_not_taken(MOST_JOBS) if job.flow_run_id]
        if not jobs:
            return
        states = await self._states(jobs)
        for job in jobs:
            async with self._troubles.noted(f"settling of job {job.id}"):
                await self._settle(job, states)

    async def _states(self, jobs: list[Job]) -> dict[UUID, State | None]:
        """The states of the jobs' runs; notes for how long Prefect has been answering."""
        try:
            states = await self._orchestrator.run_states([job.flow_run_id for job in jobs if job.flow_run_id])
        except SchedulerError:
            self._prefect_answers_since = None
            raise
        if self._prefect_answers_since is None:
            self._prefect_answers_since = time.monotonic()
        return states

    async def _settle(self, job: Job, states: dict[UUID, State | None]) -> None:
        if job.flow_run_id is None:
            return
        if job.flow_run_id not in states:
            if await scheduled_jobs.forget_flow_run(job.id, job.flow_run_id):
                logger.warning("The flow run of a pending job is gone", extra={"job_id": job.id})
            return
        state = states[job.flow_run_id]
        status = ended_status(state)
        if state is None:
            return
        if status is None:
            await self._give_up_unstarted(job, job.flow_run_id, state)
            return
        message = redact(state.message or f"its flow run ended as {state.name} before it started")
        if await scheduled_jobs.close_unstarted(job.id, job.flow_run_id, status, message):
            logger.warning("Job ended before it started: %s", message, extra={"job_id": job.id})

    async def _give_up_unstarted(self, job: Job, flow_run_id: UUID, state: State) -> None:
        """Ends a job whose run a worker took on, and whose lease no process has taken in the time a lease lives.

        Prefect would keep such a run Pending, or Running, for ever. A process that comes to life later finds the job
        closed and does nothing.
        """
        taken_on = state.type in (StateType.PENDING, StateType.RUNNING)
        if not taken_on or datetime.now(UTC) - state.timestamp < UNSTARTED_AFTER:
            return
        # While Prefect was away, a living process could not have begun its run either.
        answering = self._prefect_answers_since
        if answering is None or time.monotonic() - answering < UNSTARTED_AFTER.total_seconds():
            return
        taken_at = f"{state.timestamp:%Y-%m-%dT%H:%M:%SZ}"
        reason = f"never started: a worker took its run on at {taken_at} and no process has begun it"
        if await scheduled_jobs.give_up_unstarted(job.id, flow_run_id, reason):
            logger.warning("Job died: %s", reason, extra={"job_id": job.id, "flow_run_id": flow_run_id})

    async def adopt_due_runs(self) -> None:
        """Gives a row to every due run that has none: of a schedule, Prefect's UI or its CLI."""
        due = await self._orchestrator.due_runs()
        self._with_row &= {run.id for _, run in due}
        for job_type, run in due:
            if run.id not in self._with_row:
                async with self._troubles.noted(f"row of flow run {run.id}"):
                    await self._adopt(job_type, run)
                    self._with_row.add(run.id)

    async def _adopt(self, job_type: str, run: FlowRun) -> None:
        job = await scheduled_jobs.adopt(
            run.id,
            idempotency_key=run.idempotency_key,
            job_type=job_type,
            parameters=run.parameters,
            origin=Origin.SCHEDULE if run.auto_scheduled else Origin.PREFECT,
            exclusive_key=job_type,
            scheduled_at=run.expected_start_time,
        )
        if job.id == run.id:
            logger.info("Due run has its row", extra={"job_id": job.id, "flow_run_id": run.id})
