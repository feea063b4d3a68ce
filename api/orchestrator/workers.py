"""Who runs the runs: workers, and the pods they make."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from prefect.events.filters import EventFilter, EventNameFilter, EventRelatedFilter

from api.orchestrator.connection import BRIEF_SECONDS, Connection
from flows.core.errors import NotFound

_POD = "prefect.kubernetes.pod."


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


class Workers(Connection):
    async def quietest_pool(self, default: str) -> tuple[str, WorkerSign | None]:
        """The pool of our deployments (`default` while they are not known) that was heard of last the longest ago.

        With the last sign of life of any of its workers; None where there has never been one.
        """
        pools = sorted(set(self.pools.values())) or [default]
        signs = [(pool, await self.newest_worker(pool)) for pool in pools]
        return min(signs, key=lambda found: found[1].heard_at.timestamp() if found[1] else 0)

    async def newest_worker(self, pool: str) -> WorkerSign | None:
        """The last sign of life of any worker of the pool; None where there has never been one."""
        try:
            async with self.asking("read the workers", BRIEF_SECONDS):
                workers = await self.client.read_workers_for_work_pool(pool, limit=5)  # newest first
        except NotFound:
            return None
        signs = [
            WorkerSign(worker.name, worker.last_heartbeat_time, worker.heartbeat_interval_seconds or 30)
            for worker in workers
            if worker.last_heartbeat_time
        ]
        return max(signs, key=lambda sign: sign.heard_at, default=None)

    async def newest_pod_event(self, flow_run_id: UUID) -> PodSign | None:
        """What the Kubernetes worker's observer told last of the run's pod; None where it told nothing."""
        wanted = EventFilter(
            event=EventNameFilter(prefix=[_POD]),
            related=EventRelatedFilter(id=[f"prefect.flow-run.{flow_run_id}"], role=["flow-run"]),
        )
        async with self.asking("read events of the pod", BRIEF_SECONDS):
            events = (await self.client.read_events(wanted, limit=20)).events
        if not events:
            return None
        # Several can be of one instant: a pod that waits is as old with a diagnosis as it was without one.
        newest = max(events, key=lambda event: (event.received, event.occurred))
        labels = newest.resource.root
        diagnosis = labels.get("kubernetes.diagnosis") or labels.get("kubernetes.reason")
        name = labels.get("prefect.resource.name") or newest.resource.id.removeprefix(_POD)
        return PodSign(name, newest.event.removeprefix(_POD), newest.occurred, diagnosis)
