"""What is known about why a job is where it is: one question to the database, then some to Prefect, all at once.

Prefect may be down or hang: each question to it is bounded to 2 s, and an answer that did not come is a fact as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import TypeAdapter

from api.orchestrator import LogLine, Orchestrator, PodSign, RunState, WorkerSign
from api.wording import moment
from flows.core import scheduled_jobs
from flows.core.domain import Job
from flows.core.errors import SchedulerError
from flows.core.scheduled_jobs import Maintenance

T_co = TypeVar("T_co", covariant=True)
KUBERNETES = "kubernetes"
NOT_PAUSED = Maintenance(paused=False)
_pause = TypeAdapter(Maintenance)


@dataclass(frozen=True)
class Asked(Generic[T_co]):
    """The answer to a question to Prefect; with a `problem` there was none."""

    value: T_co | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Facts:
    """Times are the database's and Prefect's; `now` is the database's. `None` for a question that was not asked."""

    job: Job
    now: datetime
    pool: str
    worker: Asked[WorkerSign]
    run: Asked[RunState] | None = None
    pod: Asked[PodSign] | None = None
    complaint: Asked[LogLine] | None = None
    down_since: datetime | None = None
    maintenance: Maintenance = NOT_PAUSED
    holder: Job | None = None
    ahead: int = 0
    retry: UUID | None = None

    def seconds_since(self, at: datetime) -> float:
        return (self.now - at).total_seconds()

    @property
    def prefect_problem(self) -> str | None:
        """What is wrong where Prefect has not answered a single question."""
        asked = [one for one in (self.worker, self.run, self.pod, self.complaint) if one is not None]
        return self.worker.problem if all(one.problem for one in asked) else None

    @property
    def absence(self) -> str:
        """That Prefect does not answer, as a part of a sentence."""
        return (
            f"Prefect has not answered since {moment(self.down_since)}"
            if self.down_since
            else "Prefect does not answer"
        )


async def gather(job_id: UUID, orchestrator: Orchestrator, pool: str) -> Facts | None:
    """The facts about a job; None for an unknown id. Raises Unavailable while the database is.

    `pool` is where its runs go as far as Prefect has not told.
    """
    found = await scheduled_jobs.explain(job_id)
    if found is None:
        return None
    job = scheduled_jobs.parse(found["job"])
    pool = orchestrator.pools.get(job.job_type, pool)
    flow_run_id = job.flow_run_id
    run, complaint, pod = None, None, None
    if flow_run_id is None:
        worker = await _ask(orchestrator.newest_worker(pool))
    else:
        worker, run, complaint, pod = await asyncio.gather(
            _ask(orchestrator.newest_worker(pool)),
            _ask(orchestrator.run_now(flow_run_id)),
            _ask(orchestrator.newest_complaint(flow_run_id)),
            _ask_of_pod(orchestrator, job.job_type, flow_run_id),
        )
    return Facts(
        job=job,
        now=datetime.fromisoformat(found["now"]),
        pool=pool,
        worker=worker,
        run=run,
        pod=pod,
        complaint=complaint,
        down_since=orchestrator.down_since,
        maintenance=_maintenance(found),
        holder=scheduled_jobs.parse(found["holder"]) if found["holder"] else None,
        ahead=found["ahead"],
        retry=UUID(found["retry"]) if found["retry"] else None,
    )


async def _ask(question: Awaitable[T_co | None]) -> Asked[T_co]:
    try:
        return Asked(await question)
    except SchedulerError as error:
        return Asked(problem=str(error))


async def _ask_of_pod(orchestrator: Orchestrator, job_type: str, flow_run_id: UUID) -> Asked[PodSign] | None:
    """None where the pool has no pods: on any other than Kubernetes."""
    kind = orchestrator.pool_type(job_type)
    if kind not in (KUBERNETES, None):
        return None
    pod = await _ask(orchestrator.newest_pod_event(flow_run_id))
    return pod if kind or pod.value else None


def _maintenance(found: dict[str, Any]) -> Maintenance:
    """What holds now: a pause whose time is over is none."""
    row = found["maintenance"]
    if row is None or found["paused"] is None:
        return NOT_PAUSED
    return _pause.validate_python(row)
