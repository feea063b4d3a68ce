"""The right of this process to act for its job, as the process itself can judge it.

The database decides (take_job, beat_job, finish_job). Between two renewals a process trusts its own clock: 75 seconds
after the last renewal it claims and sends nothing more, 15 seconds before the database calls the lease dead.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from flows.core.domain import Progress
from flows.core.errors import LeaseLost

# Ten seconds would keep a lease; every two, progress is fresh, a cancel is heard soon, and whoever doubts that the
# process lives need not wait long to see it.
BEAT_SECONDS = 2.0
TRUST_SECONDS = 75.0
# How long a process that was told to stop may take: its loop is cancelled at once, then SIGTERM, then the end.
TERM_AFTER_SECONDS = 10.0
KILL_AFTER_SECONDS = 20.0


def _clock() -> float:
    # Unlike CLOCK_MONOTONIC this one goes on while the machine is suspended; the database's clock does too.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """One job's lease under one fencing number. Renewed by the beat thread, asked by everybody else."""

    def __init__(self, job_id: UUID, fence: int, parent_id: UUID | None = None) -> None:
        self.job_id = job_id
        self.fence = fence
        self.parent_id = parent_id
        self.progress: Progress | None = None
        self.stopped = threading.Event()
        self.verdict: str | None = None
        self._renewed_at = _clock()

    def renewed(self, asked_at: float) -> None:
        """Notes a renewal. It counts from when it was asked for: the answer may have been long on its way."""
        self._renewed_at = asked_at

    def stop(self, verdict: str) -> None:
        """Ends the right to act: 'stop' for a cancel, 'overtime', or 'lost' when the database says so."""
        self.verdict = self.verdict or verdict
        self.stopped.set()

    @property
    def is_trusted(self) -> bool:
        """True while the last renewal is recent enough to act on."""
        return not self.stopped.is_set() and _clock() - self._renewed_at < TRUST_SECONDS

    async def before_acting(self) -> None:
        """Returns when this process may act; waits through an outage; raises LeaseLost when it never may again."""
        while not self.is_trusted:
            if self.stopped.is_set():
                raise LeaseLost(f"job {self.job_id} under fence {self.fence}: {self.verdict}")
            await asyncio.sleep(0.2)


now = _clock
_current: ContextVar[Lease | None] = ContextVar("current_lease", default=None)


def current_lease() -> Lease | None:
    """The lease of the job this code runs for; None outside a job (the shim)."""
    return _current.get()


def under_lease() -> dict[str, Any]:
    """The job and fence that every SQL function which claims or records asks for. Raises RuntimeError outside a job."""
    lease = current_lease()
    if lease is None:
        raise RuntimeError("no job is running here, and so there is no lease to act under")
    return {"job": str(lease.job_id), "fence": lease.fence}


def enter(lease: Lease) -> None:
    """Makes `lease` the current one for this context and the tasks started from it."""
    _current.set(lease)


def report_progress(items_processed: int, items_total: int | None, phase: str) -> None:
    """Notes how far the job is; the beat thread writes it to the row within 5 seconds."""
    lease = current_lease()
    if lease is not None:
        lease.progress = Progress(items_processed, items_total, phase)
