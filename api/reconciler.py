"""Makes rows and flow runs agree, in loops of their own: an outage of Prefect must not keep dead leases alive.

Driven by Prefect's events while they flow, and by bounded sweeps always. Any number of replicas may run this: every
change of a row is one conditional update, and Prefect is only told what the row says.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, State, StateType

from api.agreement import Act, act_on
from api.background import Troubles
from api.catalogue import Catalogue
from api.events import RunEvents
from api.orchestrator import Orchestrator, RunState
from api.presence import Presence
from api.redeploy import Redeployment
from flows.clients import database
from flows.core import scheduled_jobs
from flows.core.domain import Job, JobStatus, Origin
from flows.core.errors import SchedulerError
from flows.core.prefect_states import ended_status
from flows.core.redaction import redact

# A due run has its row within 30 s, also when a look or two at Prefect fails.
LOOK_SECONDS = 10.0
MOST_JOBS = database.MOST_ROWS
AT_ONCE = 8  # changes of rows and runs in one comparison
# As long as a lease lives: what a worker has taken on and nobody has begun by then is dead.
UNSTARTED_AFTER = timedelta(seconds=90)
# A pod waits for a node and for its image; that it failed its worker tells by itself.
UNSTARTED_POD_AFTER = timedelta(minutes=15)
# A living process beats every 2 s.
SILENCE_SECONDS = 4.0
LONGEST_BLINK_SECONDS = 2.5
# A run that has just ended tells Prefect by itself, and one that was just set going again has its new row.
SETTLING_SECONDS = 1.0
# Events come in bursts; what is doubted or odd is looked at again this soon.
_BURST_SECONDS = 0.2
_AGAIN_SECONDS = 0.5
# Prefect is one process: a question in the middle of a run's start would make the start wait for its answer.
_BEGINNING_SECONDS = 0.5

logger = logging.getLogger(__name__)


@dataclass
class _Doubt:
    """Whether a process lives: its last beat when it was first doubted, and when it was looked at first and last."""

    beaten_at: datetime | None
    since: float
    seen_at: float


class Reconciler:
    def __init__(
        self,
        orchestrator: Orchestrator,
        catalogue: Catalogue,
        sweep_seconds: float,
        *,
        accepted: Callable[[], None] = lambda: None,
        not_recovered: Sequence[str] = (),
    ) -> None:
        """`accepted` is called when there may be something to dispatch."""
        self._orchestrator = orchestrator
        self._catalogue = catalogue
        self._sweep_seconds = sweep_seconds
        self._accepted = accepted
        self._not_recovered = tuple(not_recovered)
        self._troubles = Troubles(logger)
        self._redeployment = Redeployment()
        self._events = RunEvents(orchestrator.api_url, self._on_event)
        self._prefect = Presence()
        self._with_row: set[tuple[UUID, int]] = set()
        self._changed: set[UUID] = set()
        self._something_changed = asyncio.Event()
        self._doubts: dict[UUID, _Doubt] = {}
        self._odd: dict[UUID, tuple[object, float]] = {}
        self._looked_at = 0.0
        self._compared_to: UUID | None = None

    async def run(self) -> None:
        """Sweeps until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._sweep_leases())
            loops.create_task(self._every(self._sweep_seconds, "comparison with Prefect", self.compare_open))
            loops.create_task(self._follow_events())
            loops.create_task(self._events.run())
            loops.create_task(self._sweep_prefect())

    async def _every(self, seconds: float, what: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            async with self._troubles.noted(what):
                await work()
            await asyncio.sleep(seconds)

    async def _sweep_leases(self) -> None:
        while True:
            async with self._troubles.noted("sweep of dead leases"):
                await self.reap()
            async with self._troubles.noted("recovery of dead jobs"):
                await self.recover()
            await asyncio.sleep(self._sweep_seconds)

    async def _sweep_prefect(self) -> None:
        while True:
            async with self._troubles.noted("reading of the kept job types"):
                await self._catalogue.load_once()
            async with self._troubles.noted("look at the deployments"):
                await self._catalogue.refresh(self._orchestrator)
                await self._redeployment.look(
                    deployed=self._catalogue.is_deployed, known_before=self._catalogue.was_deployed
                )
            async with self._troubles.noted("look for due runs"):
                await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def _on_event(self, flow_run_id: UUID, is_beginning: bool = False) -> None:  # noqa: FBT001, FBT002
        if is_beginning:
            asyncio.get_running_loop().call_later(_BEGINNING_SECONDS, self._on_event, flow_run_id)
            return
        self._changed.add(flow_run_id)
        self._something_changed.set()

    async def _follow_events(self) -> None:
        """Compares runs right after they have changed, and again while something about them is open."""
        while True:
            open_questions = bool(self._doubts or self._odd)
            with suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_SECONDS if open_questions else None):
                    await self._something_changed.wait()
            await asyncio.sleep(_BURST_SECONDS)
            self._something_changed.clear()
            asked = self._changed | self._doubts.keys() | self._odd.keys()
            self._changed = set()
            async with self._troubles.noted("comparison of changed runs"):
                await self._compare_runs(asked)

    async def reap(self) -> None:
        """Ends the jobs whose lease is dead; Prefect is made to follow by the next comparison."""
        for job in await scheduled_jobs.reap_dead_leases():
            logger.warning("Job ended without its process: %s", job.error, extra=_ids(job))
            self._accepted()
            if job.flow_run_id is not None:
                self._on_event(job.flow_run_id)

    async def recover(self) -> None:
        """Tries dead jobs again whose time has come."""
        for job in await scheduled_jobs.recover_dead(MOST_JOBS, except_types=self._not_recovered):
            logger.warning("Job %s died and is tried again", job.retry_of, extra=_ids(job))
            self._accepted()

    async def compare_open(self) -> None:
        """Compares the jobs whose flow run is not known to have ended in agreement with it; of many, the next 1,000."""
        jobs = await scheduled_jobs.open_runs(self._compared_to)
        self._compared_to = jobs[-1].id if len(jobs) == MOST_JOBS else None
        await self.compare(jobs)

    async def _compare_runs(self, flow_run_ids: Iterable[UUID]) -> None:
        wanted = list(flow_run_ids)
        jobs = await scheduled_jobs.of_runs(wanted) if wanted else []
        gone = set(wanted) - {job.flow_run_id for job in jobs}
        for flow_run_id in gone:
            self._doubts.pop(flow_run_id, None)
            self._odd.pop(flow_run_id, None)
        await self.compare(jobs)
        # Somebody may have started a run in Prefect: it need not wait for the next look.
        if gone and time.monotonic() - self._looked_at > 1:
            await self.adopt_due_runs()

    async def compare(self, jobs: Sequence[Job]) -> None:
        """Asks Prefect about the flow runs of these jobs and does what each pair asks for."""
        asked = [job for job in jobs if job.flow_run_id]
        if not asked:
            return
        states = await self._states([job.flow_run_id for job in asked if job.flow_run_id])
        limit = asyncio.Semaphore(AT_ONCE)

        async def agree(job: Job) -> None:
            async with limit, self._troubles.noted(f"comparison of job {job.id}"):
                await self._agree(job, states)

        await asyncio.gather(*(agree(job) for job in asked))

    async def _states(self, flow_run_ids: list[UUID]) -> dict[UUID, RunState]:
        """The states of runs; notes for how long Prefect has been answering."""
        try:
            states = await self._orchestrator.run_states(flow_run_ids)
        except SchedulerError:
            self._prefect.failed(time.monotonic())
            raise
        self._prefect.answered(time.monotonic())
        return states

    async def _agree(self, job: Job, states: dict[UUID, RunState]) -> None:
        flow_run_id = job.flow_run_id
        if flow_run_id is None:
            return
        run = states.get(flow_run_id)
        state = run.state if run else None
        act = act_on(job, state, is_known=run is not None)
        if act is not Act.DOUBT:
            self._doubts.pop(flow_run_id, None)
        if act is not Act.END_RUN:
            self._odd.pop(flow_run_id, None)
        if act is Act.DISPATCH_AGAIN:
            if await scheduled_jobs.forget_flow_run(job.id, flow_run_id):
                logger.warning("The flow run of a pending job is gone", extra=_ids(job))
                self._accepted()
        elif act is Act.NOTE_AGREEMENT:
            await scheduled_jobs.close_run(job.id, flow_run_id)
        elif run is not None and state is not None:
            await self._act(act, job, flow_run_id, run, state)

    async def _act(self, act: Act, job: Job, flow_run_id: UUID, run: RunState, state: State) -> None:
        match act:
            case Act.CLOSE_ROW:
                await self._close_row(job, flow_run_id, state)
            case Act.GIVE_UP_UNSTARTED:
                await self._give_up_unstarted(job, flow_run_id, state)
            case Act.CANCEL_ROW:
                await scheduled_jobs.cancel(job.id, by="prefect", actor="prefect")
            case Act.CANCEL_RUN:
                await self._orchestrator.cancel_run(flow_run_id)
            case Act.BURY:
                await self._bury(job, flow_run_id, state)
            case Act.DOUBT:
                await self._doubt(job, flow_run_id, state)
            case Act.PUT_RIGHT:
                await self._put_right(job, flow_run_id, state)
            case Act.END_RUN:
                await self._end_run(job, flow_run_id, state)
            case Act.RETRY:
                await self._retry(job, run)
            case _:
                pass

    async def _close_row(self, job: Job, flow_run_id: UUID, state: State) -> None:
        status = ended_status(state)
        if status is None:
            return
        message = redact(state.message or f"its flow run ended as {state.name} before it started")
        died = state.type is StateType.CRASHED
        error = None if status is JobStatus.COMPLETED else message
        if await scheduled_jobs.close_unstarted(job.id, flow_run_id, status, error, died=died):
            logger.warning("Job ended before it started: %s", message, extra=_ids(job))
            self._accepted()

    async def _give_up_unstarted(self, job: Job, flow_run_id: UUID, state: State) -> None:
        """Ends a job whose run a worker took on, and whose lease no process has taken in the time a lease lives.

        Prefect would keep such a run Pending, or Running, for ever. A process that comes to life later finds the job
        closed and does nothing.
        """
        limit = UNSTARTED_POD_AFTER if self._orchestrator.pool_type(job.job_type) == "kubernetes" else UNSTARTED_AFTER
        if datetime.now(UTC) - state.timestamp < limit:
            return
        # While Prefect was away, a living process could not have begun its run either.
        if self._prefect.seconds(time.monotonic()) < min(limit, UNSTARTED_AFTER).total_seconds():
            return
        taken_at = f"{state.timestamp:%Y-%m-%dT%H:%M:%SZ}"
        reason = f"never started: a worker took its run on at {taken_at} and no process has begun it"
        if await scheduled_jobs.give_up_unstarted(job.id, flow_run_id, reason):
            logger.warning("Job died: %s", reason, extra=_ids(job))
            self._accepted()

    async def _doubt(self, job: Job, flow_run_id: UUID, state: State) -> None:
        """Prefect calls the process of a running job dead. A beat since then proves that it lives."""
        is_cancel = state.type is StateType.CANCELLED
        if is_cancel and job.cancel_requested_at is None:
            await scheduled_jobs.cancel(job.id, by="prefect", actor="prefect")
        now = time.monotonic()
        doubt = self._doubts.get(flow_run_id)
        if doubt is None or now - doubt.seen_at > LONGEST_BLINK_SECONDS:
            # While the database was away nobody could beat.
            doubt = self._doubts[flow_run_id] = _Doubt(job.locked_at, now, now)
            self._something_changed.set()
        doubt.seen_at = now
        if job.locked_at != doubt.beaten_at:
            # The process works on. One that is to be cancelled Prefect's worker ends, if the run is Cancelling.
            wanted = StateType.CANCELLING if is_cancel else StateType.RUNNING
            await self._set(job, flow_run_id, State(type=wanted), state)
        elif now - doubt.since >= SILENCE_SECONDS:
            await self._bury(job, flow_run_id, state)
        else:
            return
        self._doubts.pop(flow_run_id, None)

    async def _bury(self, job: Job, flow_run_id: UUID, state: State) -> None:
        if job.locked_at is None:
            return
        if state.type is StateType.CANCELLED and job.cancel_requested_at is None:
            await scheduled_jobs.cancel(job.id, by="prefect", actor="prefect")
        reason = redact(state.message or f"its flow run ended as {state.name}")
        if await scheduled_jobs.bury_silent(job.id, flow_run_id, job.locked_at, reason):
            logger.warning("Job ended without its process: %s", reason, extra=_ids(job))
            self._accepted()

    async def _put_right(self, job: Job, flow_run_id: UUID, state: State) -> None:
        """Makes a run Running again whose state somebody changed while its process holds the lease."""
        # Rows are read before states: the job may have ended in between, as its run says.
        now = await scheduled_jobs.get(job.id)
        if now is None or now.status is not JobStatus.RUNNING or now.lease_note is not None or now.fence != job.fence:
            return
        await self._set(job, flow_run_id, State(type=StateType.RUNNING), state)

    async def _end_run(self, job: Job, flow_run_id: UUID, state: State) -> None:
        """Makes a run follow its ended row, once it has had the time to do so by itself."""
        if job.status is JobStatus.CANCELLED and state.type is StateType.SCHEDULED:
            await self._orchestrator.cancel_run(flow_run_id)
            return
        # A run that has written its end itself is about to tell Prefect, and one that was set going again is about to
        # have its new row. Where the process is gone, or Prefect thinks that all is over, nobody is.
        tells_itself = job.status is not JobStatus.CANCELLED and not job.died
        settles = ended_status(state) is None and (tells_itself or not job.run_open)
        if settles and not self._is_odd_long_enough(flow_run_id, (job.id, state.type), SETTLING_SECONDS):
            return
        target = {
            JobStatus.COMPLETED: StateType.COMPLETED,
            JobStatus.FAILED: StateType.CRASHED if job.died else StateType.FAILED,
            JobStatus.CANCELLED: StateType.CANCELLED,
        }[job.status]
        message = job.error or "the job has completed"
        by_hand = not job.run_open
        await self._set(job, flow_run_id, State(type=target, message=message), state, audited=by_hand)
        await scheduled_jobs.close_run(job.id, flow_run_id)

    async def _set(self, job: Job, flow_run_id: UUID, wanted: State, found: State, *, audited: bool = True) -> None:
        await self._orchestrator.force_state(flow_run_id, wanted)
        self._odd.pop(flow_run_id, None)
        logger.info("Flow run put right: %s instead of %s", wanted.type.value, found.type.value, extra=_ids(job))
        if audited:
            details = {"found": found.type.value, "set": wanted.type.value, "stateId": str(found.id)}
            await scheduled_jobs.note_put_right(job, details)

    def _is_odd_long_enough(self, flow_run_id: UUID, what: object, seconds: float) -> bool:
        """Whether the same disagreement has been seen for that long."""
        seen, since = self._odd.get(flow_run_id, (None, 0.0))
        if seen != what:
            self._odd[flow_run_id] = (what, time.monotonic())
            self._something_changed.set()
            return False
        return time.monotonic() - since >= seconds

    async def _retry(self, job: Job, run: RunState) -> None:
        """Gives a run that was set going again after its job had ended a row of its own."""
        made = await self._adopt(job.job_type, run.flow_run, retry=True)
        if made.id != job.id:
            logger.info("Flow run was set going again: it is a new job", extra=_ids(made))

    async def look(self) -> None:
        """What no event and no open row tells: due runs without a row, and ended rows whose runs were changed."""
        await self.adopt_due_runs()
        runs = await self._orchestrator.runs_in_motion()
        jobs = await scheduled_jobs.of_runs(runs)
        await self.compare([job for job in jobs if not job.run_open])

    async def adopt_due_runs(self) -> None:
        """Gives a row to every due run that has none: of a schedule, Prefect's UI or its CLI."""
        self._looked_at = time.monotonic()
        due = await self._orchestrator.due_runs()
        self._with_row &= {(run.id, run.run_count) for _, run in due}
        for job_type, run in due:
            if (run.id, run.run_count) not in self._with_row:
                async with self._troubles.noted(f"row of flow run {run.id}"):
                    job = await self._adopt(job_type, run, retry=False)
                    self._with_row.add((run.id, run.run_count))
                    if job.status.has_ended and job.flow_run_id == run.id:
                        await self.compare([job])
                    elif job.id == run.id:
                        logger.info("Due run has its row", extra=_ids(job))

    async def _adopt(self, job_type: str, run: FlowRun, *, retry: bool) -> Job:
        return await scheduled_jobs.adopt(
            run.id,
            idempotency_key=run.idempotency_key,
            job_type=job_type,
            parameters=run.parameters,
            origin=Origin.SCHEDULE if run.auto_scheduled else Origin.PREFECT,
            exclusive_key=job_type,
            scheduled_at=run.expected_start_time,
            # It will be counted when it begins.
            attempt=run.run_count + 1,
            retry=retry,
        )


def _ids(job: Job) -> dict[str, UUID | None]:
    return {"job_id": job.id, "flow_run_id": job.flow_run_id}
