"""Renews a job's lease from a thread of its own, so that a busy loop does not stop it and a dead process does.

The thread has its own blocking client: it must work while the event loop is stuck. It is also what makes a process
end that was told to stop: it cancels the flow's loop, sends SIGTERM to the process group after 10 s, SIGKILL after 20.
And should the thread itself be stuck (a C call that keeps the interpreter's lock), a watchdog in C ends the process
before the database calls its lease dead: what cannot beat can do no harm either.
"""

from __future__ import annotations

import asyncio
import contextvars
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from supabase import Client

from flows.clients import database
from flows.core import lease as leases
from flows.core.domain import JobStatus, Progress
from flows.core.errors import LeaseLost, SchedulerError, TransientError, Unavailable
from flows.core.lease import BEAT_SECONDS, KILL_AFTER_SECONDS, TERM_AFTER_SECONDS, Lease
from flows.core.redaction import redact

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0
# How long the end of a job is written against an outage. The sweep gives as much grace after one.
_FINISH_PATIENCE_SECONDS = 1800.0
# A process that must stop has no time for more.
_GIVE_UP_PATIENCE_SECONDS = 8.0
# Between the 75 s in which a process trusts its lease and the 90 s after which it is dead.
_WATCHDOG_SECONDS = 80.0
# Whoever waits for the process tells of its end; without such a one the sweep may take it for gone after this long:
# longer than the 20 s after which it kills itself, where a living worker is to be first.
_GONE_SECONDS, _GONE_UNLESS_TOLD_SECONDS = 3.0, 24.0
_own_signal = threading.Event()
TOLD_VARIABLE = "WORKER_TELLS_ENDS"  # set by a worker that waits for its runs' processes and tells the database


class Heartbeat:
    """Beats for one lease between `start` and `end`; cancels `task`, and then more, when the job is to stop."""

    def __init__(self, lease: Lease, task: asyncio.Task[Any], *, run_seconds: float) -> None:
        self._lease = lease
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._client: Client = database.make_sync_client()
        self._quit = threading.Event()
        self._ending = False
        self._given_up = False
        self._run_until = leases.now() + run_seconds
        self._stop_since: float | None = None
        self._termed = False
        self._failing = False
        # In a copy of this context, so that what the thread logs carries the job's id.
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._run,), name="heartbeat", daemon=True
        )

    def start(self) -> None:
        """Begins to beat."""
        self._watch_ourselves()
        self._thread.start()

    def end(self, status: JobStatus, result: dict[str, Any], error: str | None) -> bool:
        """Writes the end of the job and stops beating. False when the row belongs to another run by now.

        Blocks until the database has answered: an end that is not written would be reported as a death.
        Beats go on meanwhile, so that a slow end does not lose the lease.
        """
        # A beat that finds the job ended from now on has met our own end, and says nothing about the lease.
        self._ending = True
        client = database.make_sync_client()
        try:
            return self._patiently(
                _FINISH_PATIENCE_SECONDS,
                lambda: self._call(client, "finish_job", status=status.value, result=result, error=error),
            )
        finally:
            self.quit()

    def give_up(self, note: str, *, leaving: bool, killed: bool = False) -> bool:
        """Gives the lease up: this process records nothing more and is about to end. False when it had lost it.

        The job ends when the process is known to be gone. `leaving` False: it was told to end by somebody who may let
        the same run go on elsewhere; the lease then stays for whoever comes. `killed`: SIGKILL follows at once.
        """
        self._ending = self._given_up = True
        told = TOLD_VARIABLE in os.environ and not killed
        progress = self._lease.progress
        seconds = (_GONE_UNLESS_TOLD_SECONDS if told else _GONE_SECONDS) if leaving else None
        client = database.make_sync_client()
        try:
            return self._patiently(
                _GIVE_UP_PATIENCE_SECONDS,
                lambda: self._call(
                    client,
                    "give_up_lease",
                    note=redact(note),
                    progress=progress.to_json() if progress else None,
                    seconds=seconds,
                ),
            )
        except SchedulerError as error:
            logger.warning("Job %s: its lease could not be given up: %s", self._lease.job_id, redact(str(error)))
            return False

    def quit(self) -> None:
        """Stops beating."""
        self._quit.set()
        faulthandler.cancel_dump_traceback_later()

    def _patiently(self, seconds: float, call: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            try:
                return call()
            except TransientError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_SECONDS)

    def _call(self, client: Client, function: str, **parameters: Any) -> bool:
        answer = database.sync_rpc(client, function, id=str(self._lease.job_id), fence=self._lease.fence, **parameters)
        if not isinstance(answer, bool):
            raise Unavailable(f"something that is not the database answered {function}", "database")
        return answer

    def _run(self) -> None:
        wait = BEAT_SECONDS
        while not self._quit.wait(min(wait, self._until_next_step())):
            self._watch_ourselves()
            if not self._given_up and self._lease.verdict != "lost":
                wait = BEAT_SECONDS if self._beat_once() else _RETRY_SECONDS
            self._climb()

    def _watch_ourselves(self) -> None:
        if sys.__stderr__ is not None and not self._quit.is_set():
            faulthandler.dump_traceback_later(_WATCHDOG_SECONDS, exit=True, file=sys.__stderr__)
            if self._quit.is_set():  # it ended in between
                faulthandler.cancel_dump_traceback_later()

    def _beat_once(self) -> bool:
        """Whether the database has answered."""
        progress: Progress | None = self._lease.progress
        asked_at = leases.now()
        try:
            answer = self._beat(progress)
        except Exception as error:  # noqa: BLE001  # the next beat may succeed; without this thread none can
            if not self._failing:
                logger.warning("Job %s: a beat failed, the next is tried: %s", self._lease.job_id, redact(str(error)))
            self._failing = True
            return False
        self._failing = False
        if answer == "go":
            self._lease.renewed(asked_at)
        else:
            # Also a job that is told to stop keeps its lease until it has stopped.
            self._stop(answer)
        return True

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
        if self._stop_since is None:
            self._stop_since = leases.now()
            self._loop.call_soon_threadsafe(self._task.cancel)

    def _steps_since(self) -> float | None:
        """Since when this process should be stopping; None while it may go on."""
        now = leases.now()
        over = self._run_until if now >= self._run_until else None
        begun = [since for since in (self._stop_since, over) if since is not None]
        return min(begun) if begun else None

    def _until_next_step(self) -> float:
        since = self._steps_since()
        if since is None:
            return max(0.05, self._run_until - leases.now())
        step = KILL_AFTER_SECONDS if self._termed else TERM_AFTER_SECONDS
        return max(0.05, since + step - leases.now())

    def _climb(self) -> None:
        """Ends a process that does not end itself: SIGTERM to its group, and SIGKILL in the end."""
        since = self._steps_since()
        if since is None or (self._ending and not self._given_up):
            return
        stopping = leases.now() - since
        if stopping >= KILL_AFTER_SECONDS:
            if not self._given_up and self._lease.verdict != "lost":
                self.give_up("stopped: it did not end when it was told to", leaving=True, killed=True)
            _signal_ourselves(signal.SIGKILL)
            # The first process of a container is spared by every signal from within, SIGKILL included.
            os._exit(128 + signal.SIGKILL)
        elif stopping >= TERM_AFTER_SECONDS and not self._termed:
            self._termed = True
            self._lease.stop("overtime")  # keeps an earlier verdict
            logger.warning("Job %s does not stop: its process gets SIGTERM", self._lease.job_id)
            _signal_ourselves(signal.SIGTERM)


def is_ending_its_process() -> bool:
    """Whether the signal that has come is this process's own: it must stop, and is not to begin again elsewhere."""
    return _own_signal.is_set()


def _signal_ourselves(number: signal.Signals) -> None:
    """To the process group where this process leads one, so that what it has started ends as well."""
    _own_signal.set()
    pid = os.getpid()
    if pid == 1:
        # The first process of a container leads group 1, and a signal to "group 1" goes to everybody but itself.
        with suppress(ProcessLookupError):
            os.kill(-1, number)
        os.kill(pid, number)
    elif os.getpgrp() == pid:
        os.killpg(pid, number)
    else:
        os.kill(pid, number)
