"""Renews a job's lease from a thread of its own, so that a busy loop does not stop it and a dead process does.

The thread has its own blocking client: it must work while the event loop is stuck, and it ends the job when the
loop is already gone (a signal, a crash of the engine).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

from supabase import Client

from flows.clients import database
from flows.core import lease as leases
from flows.core.domain import JobStatus, Progress
from flows.core.errors import LeaseLost, TransientError, Unavailable
from flows.core.lease import BEAT_SECONDS, PROGRESS_SECONDS, Lease
from flows.core.redaction import redact

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0
# How long the end of a job is written against an outage. The sweep gives as much grace after one.
_FINISH_PATIENCE_SECONDS = 1800.0


class Heartbeat:
    """Beats for one lease between `start` and `end`; cancels `task` when the database says stop."""

    def __init__(self, lease: Lease, task: asyncio.Task[Any]) -> None:
        self._lease = lease
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._client: Client = database.make_sync_client()
        self._quit = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begins to beat."""
        self._thread.start()

    def end(self, status: JobStatus, result: dict[str, Any], error: str | None) -> bool:
        """Writes the end of the job and stops beating. False when the row belongs to another run by now.

        Blocks until the database has answered: an end that is not written would be reported as a death.
        Beats go on meanwhile, so that a slow end does not lose the lease.
        """
        # A beat that finds the job ended from now on has met our own end, and says nothing about the lease.
        self._ending = True
        deadline = time.monotonic() + _FINISH_PATIENCE_SECONDS
        client = database.make_sync_client()
        try:
            while True:
                try:
                    return self._finish(client, status, result, error)
                except TransientError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_RETRY_SECONDS)
        finally:
            self.quit()

    def _finish(self, client: Client, status: JobStatus, result: dict[str, Any], error: str | None) -> bool:
        answer = database.sync_rpc(
            client,
            "finish_job",
            id=str(self._lease.job_id),
            fence=self._lease.fence,
            status=status.value,
            result=result,
            error=error,
        )
        if not isinstance(answer, bool):
            raise Unavailable("something that is not the database answered finish_job", "database")
        return answer

    def quit(self) -> None:
        """Stops beating."""
        self._quit.set()

    def _run(self) -> None:
        beaten_at = leases.now()
        written: Progress | None = None
        wait = PROGRESS_SECONDS
        while not self._quit.wait(wait):
            progress = self._lease.progress
            asked_at = leases.now()
            if progress == written and asked_at - beaten_at < BEAT_SECONDS - 0.5:
                continue
            try:
                answer = self._beat(progress)
            except Exception as error:  # noqa: BLE001  # the next beat may succeed; without this thread none can
                if wait != _RETRY_SECONDS:
                    logger.warning(
                        "Job %s: a beat failed, the next is tried: %s", self._lease.job_id, redact(str(error))
                    )
                wait = _RETRY_SECONDS
                continue
            wait = PROGRESS_SECONDS
            beaten_at, written = asked_at, progress
            if answer == "go":
                self._lease.renewed(asked_at)
            else:
                self._stop(answer)
                return

    def _beat(self, progress: Progress | None) -> str:
        try:
            answer = database.sync_rpc(
                self._client,
                "beat_job",
                id=str(self._lease.job_id),
                fence=self._lease.fence,
                progress=progress.to_json() if progress else None,
            )
        except LeaseLost:
            return "lost"
        if answer not in ("go", "stop", "lost"):
            raise Unavailable("something that is not the database answered beat_job", "database")
        return str(answer)

    def _stop(self, verdict: str) -> None:
        if self._ending or self._quit.is_set():
            return
        self._lease.stop(verdict)
        self._loop.call_soon_threadsafe(self._task.cancel)
