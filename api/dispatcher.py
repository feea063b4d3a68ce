"""Gives accepted jobs their flow run: at once after a trigger, and again in every sweep until it succeeds.

Any number of replicas may run this: the database hands a job to one of them for 15 s, and the job's idempotency key
makes Prefect answer a repeated creation with the run that is there already.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from api import metrics
from api.background import Troubles
from api.orchestrator import Orchestrator
from flows.core import scheduled_jobs
from flows.core.domain import Job, JobStatus
from flows.core.errors import NotFound, PermanentError, TransientError
from flows.core.wake import wake_worker

SIMULTANEOUS = 5
BACK_OFF_SECONDS = 2
LONGEST_BACK_OFF_SECONDS = 5
LAST_WAIT_SECONDS = 3  # what a stop leaves undone then is done by the next start, or by another replica

logger = logging.getLogger(__name__)


class Dispatcher:
    def __init__(self, orchestrator: Orchestrator, sweep_seconds: float, wake_socket: str | None = None) -> None:
        self._orchestrator = orchestrator
        self._sweep_seconds = sweep_seconds
        self._wake_socket = wake_socket
        self._kicked = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._failures_in_a_row = 0
        self._troubles = Troubles(logger)

    def kick(self) -> None:
        """Has due jobs dispatched now; returns at once."""
        self._kicked.set()

    async def run(self) -> None:
        """Dispatches at every kick and every sweep, until cancelled. What is being created then is finished first."""
        try:
            while True:
                async with self._troubles.noted("dispatch"):
                    await self.dispatch_due()
                await self._wait()
        finally:
            await self.settled(LAST_WAIT_SECONDS)
            for late in list(self._under_way):
                late.cancel()

    async def settled(self, timeout_seconds: float | None = None) -> None:
        """Returns when nothing is being dispatched any more, or the time is over."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=timeout_seconds)

    async def _wait(self) -> None:
        # Not wait_for: in Python 3.11 it swallows a cancel that comes together with a kick.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._sweep_seconds):
                await self._kicked.wait()
        self._kicked.clear()

    async def dispatch_due(self) -> None:
        """Starts the dispatch of every job that is due, a few at a time; returns when none is left to start."""
        while True:
            if len(self._under_way) >= SIMULTANEOUS:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            free = SIMULTANEOUS - len(self._under_way)
            jobs = await scheduled_jobs.claim_dispatch(free)
            for job in jobs:
                task = asyncio.create_task(self._dispatch_guarded(job), name=f"dispatch {job.id}")
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            if len(jobs) < free:
                return

    async def _dispatch_guarded(self, job: Job) -> None:
        async with self._troubles.noted(f"dispatch of job {job.id}"):
            await self.dispatch(job)

    async def dispatch(self, job: Job) -> None:
        """Creates the job's flow run and notes it; says why on the row where that is not possible."""
        try:
            flow_run_id = await self._orchestrator.create_run(job)
        except (TransientError, NotFound) as error:
            await self._postpone(job, error)
            return
        except PermanentError as error:
            metrics.PROCESS.dispatch_failures.labels("refused").inc()
            logger.error("Job refused by Prefect: %s", error, extra={"job_id": job.id})  # noqa: TRY400
            await scheduled_jobs.close_unstarted(job.id, None, JobStatus.FAILED, str(error))
            return
        self._failures_in_a_row = 0
        wake_worker(self._wake_socket)
        status = await scheduled_jobs.record_dispatch(job, flow_run_id)
        logger.info("Job dispatched", extra={"job_id": job.id, "flow_run_id": flow_run_id})
        if status is None or status.has_ended:
            await self._orchestrator.cancel_run(flow_run_id)

    async def _postpone(self, job: Job, error: Exception) -> None:
        self._failures_in_a_row += 1
        seconds = min(BACK_OFF_SECONDS + self._failures_in_a_row // 2, LONGEST_BACK_OFF_SECONDS)
        is_absent = isinstance(error, NotFound)
        metrics.PROCESS.dispatch_failures.labels("not deployed" if is_absent else "no answer").inc()
        reason = f"{job.job_type} is not deployed in Prefect" if is_absent else str(error)
        logger.warning("Job not dispatched: %s", reason, extra={"job_id": job.id})
        await scheduled_jobs.postpone_dispatch(job.id, reason, seconds)
