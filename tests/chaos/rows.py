"""Every row of a stack as it was last seen, looked at twenty times a second, through outages of the database too."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg

from tests.chaos.processes import Seen, seen
from tests.e2e.harness import ENDED

Row: TypeAlias = dict[str, Any]

_LOOK_SECONDS = 0.05
# A transaction that was open when we looked has stamped its rows earlier than that.
_OVERLAP = timedelta(seconds=3)
_CHANGED = "select * from public.scheduled_jobs where updated_at > $1 order by updated_at"
# What a row says of how its job went: nothing of it may change once the job has ended.
LASTING = ("status", "error", "result", "progress", "fence", "locked_by", "locked_at", "started_at", "completed_at",
           "died", "cancel_requested_at", "cancel_stopped_at", "attempt", "flow_run_id")  # fmt: skip


@dataclass(frozen=True)
class End:
    """The row as it was when it was first seen ended, and the monotonic time then."""

    row: Row
    at: float


class Rows:
    def __init__(self, database_url: str) -> None:
        self.now: dict[str, Row] = {}
        self.ends: dict[str, End] = {}
        self.began: dict[str, float] = {}
        """When a job was first seen running."""
        self.processes: dict[str, Seen] = {}
        """The process that a running job was last seen with."""
        self.retries: dict[str, str] = {}
        """Job to the one that tries it again, whoever asked for that."""
        self.lies: dict[str, str] = {}
        """Jobs that were seen cancelled while their process lived, and what was seen."""
        self._database_url = database_url
        self._since = datetime(2000, 1, 1, tzinfo=UTC)

    async def watch_forever(self) -> None:
        while True:
            try:
                connection = await connect(self._database_url)
                try:
                    while True:
                        await self._look(connection)
                        await asyncio.sleep(_LOOK_SECONDS)
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await asyncio.sleep(0.2)

    async def _look(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        changed = await connection.fetch(_CHANGED, self._since - _OVERLAP, timeout=10)
        moment = time.monotonic()
        for found in changed:
            row = dict(found)
            self._since = max(self._since, row["updated_at"])
            self._note(str(row["id"]), row, moment)

    def _note(self, job: str, row: Row, moment: float) -> None:
        before = self.now.get(job)
        if before is not None and before["updated_at"] == row["updated_at"]:
            return
        self.now[job] = row
        if row["retry_of"] is not None:
            self.retries[str(row["retry_of"])] = job
        if row["status"] == "running":
            self.began.setdefault(job, moment)
            self._note_process(job, row)
        elif row["status"] in ENDED and job not in self.ends:
            self.ends[job] = End(row, moment)
            if row["status"] == "cancelled":
                self._check_process(job, row)

    def _note_process(self, job: str, row: Row) -> None:
        pid = int(row["locked_by"].rpartition("/")[2])
        known = self.processes.get(job)
        if known is None or known.pid != pid:
            process = seen(pid)
            if process is not None:
                self.processes[job] = process

    def _check_process(self, job: str, row: Row) -> None:
        process = self.processes.get(job)
        if row["locked_by"] is None or process is None:
            return
        if process.is_alive:
            self.lies[job] = f"process {process.pid} lives"
        elif group := process.group:
            self.lies[job] = f"process {process.pid} is gone, of its group {group} live"

    async def until(self, job: str, *statuses: str, seconds: float) -> Row:
        """The row once it has one of the statuses (none: once it has ended). Fails when it has not in time."""
        wanted = set(statuses) or ENDED
        deadline = time.monotonic() + seconds
        while True:
            row = self.now.get(job)
            if row is not None and row["status"] in wanted:
                return row
            if row is not None and row["status"] in ENDED:
                raise AssertionError(f"job {job} has ended as {row['status']}, not {sorted(wanted)}: {row['error']}")
            if time.monotonic() > deadline:
                has = row["status"] if row else "not there"
                raise AssertionError(f"job {job} is {has} after {seconds:g} s, not {sorted(wanted)}")
            await asyncio.sleep(_LOOK_SECONDS / 2)

    async def ended(self, job: str, *, seconds: float) -> End:
        """How a job ended. Fails when it has not in time."""
        await self.until(job, seconds=seconds)
        return self.ends[job]

    async def retry_of(self, job: str, *, seconds: float) -> str:
        """The job that tries this one again. Fails when there is none in time."""
        deadline = time.monotonic() + seconds
        while job not in self.retries:
            assert time.monotonic() < deadline, f"job {job} is not tried again within {seconds:g} s"
            await asyncio.sleep(_LOOK_SECONDS)
        return self.retries[job]

    def line(self, job: str) -> list[str]:
        """The job and those that try it again, in order."""
        found = [job]
        while found[-1] in self.retries:
            found.append(self.retries[found[-1]])
        return found

    @property
    def open(self) -> list[str]:
        """The jobs that have not ended."""
        return [job for job, row in self.now.items() if row["status"] not in ENDED]


async def connect(database_url: str) -> asyncpg.Connection[asyncpg.Record]:
    """A connection that speaks JSON."""
    connection = await asyncpg.connect(database_url, timeout=5)
    await speak_json(connection)
    return connection


async def speak_json(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
