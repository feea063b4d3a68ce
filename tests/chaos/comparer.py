"""Every row with a flow run beside Prefect's state of that run, once a second: which pairs disagree for how long.

Prefect's state is read where its API reads it, in its database: a thousand runs cost a millisecond there, and its
server is asked no more than whether it answers. Time in which the database, PostgREST, Prefect or the shim, which makes
the two agree, did not answer does not count.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx

from sandbox.stack import Stack
from tests.chaos.rows import connect

LONGEST_SECONDS = 5.0
_LOOK_SECONDS = 1.0
# A run that was set going again has two rows: the newest is compared.
_ROWS = """
select distinct on (flow_run_id) id, flow_run_id, status from public.scheduled_jobs
  where flow_run_id is not null order by flow_run_id, attempt desc nulls last
"""
_RUNS = "select id, state_type::text, state_name from flow_run where id = any ($1)"
_ENDS = {"completed": ("COMPLETED",), "failed": ("FAILED", "CRASHED"), "cancelled": ("CANCELLED",)}


def agree(status: str, kind: str, name: str) -> bool:
    """Whether a row's status and the state of its flow run stand in one line of the specification's table."""
    if status == "pending":
        return kind in ("SCHEDULED", "PENDING")
    if status == "running":
        # Pending is then that of a later attempt: a process takes the lease of a run that is Running.
        return kind in ("RUNNING", "CANCELLING", "PENDING") or (kind == "SCHEDULED" and name == "AwaitingRetry")
    return kind in _ENDS[status]


@dataclass
class Disagreement:
    """How long a pair has disagreed; `history` has what was seen, each with its second."""

    job: str
    since: float
    history: list[tuple[float, str]] = field(default_factory=list)
    seconds: float = 0.0

    def note(self, now: float, what: str) -> None:
        self.seconds = now - self.since
        if not self.history or self.history[-1][1] != what:
            self.history.append((round(now - self.since, 1), what))


class Comparer:
    def __init__(self, stack: Stack) -> None:
        self.pairs: set[str] = set()
        """Jobs that were compared."""
        self.worst: dict[str, Disagreement] = {}
        """Longest disagreement of each job that had one."""
        self.samples = 0
        self._stack = stack
        self._open: dict[str, Disagreement] = {}
        self._site: asyncpg.Connection[asyncpg.Record] | None = None
        self._prefect: asyncpg.Connection[asyncpg.Record] | None = None

    async def watch_forever(self) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
            while True:
                began = time.monotonic()
                try:
                    answered = await self._all_answer(http) and await self._compare() and await self._all_answer(http)
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, httpx.HTTPError):
                    answered = False
                    self._drop_connections()
                if not answered:
                    self._open.clear()
                await asyncio.sleep(max(0.0, began + _LOOK_SECONDS - time.monotonic()))

    def too_long(self) -> list[Disagreement]:
        return [one for one in self.worst.values() if one.seconds > LONGEST_SECONDS]

    async def _all_answer(self, http: httpx.AsyncClient) -> bool:
        wiring = self._stack.wiring
        asked: list[tuple[str, dict[str, str]]] = [
            (f"{wiring.url('prefect')}/ready", {}),
            (f"{wiring.url('shim')}/health", {}),
            (
                f"{wiring.supabase_url}/rest/v1/sweep_state?select=only_row",
                {"apikey": wiring.service_key, "Authorization": f"Bearer {wiring.service_key}"},
            ),
        ]
        answers = await asyncio.gather(*(http.get(url, headers=headers) for url, headers in asked))
        return all(answer.is_success for answer in answers)

    async def _compare(self) -> bool:
        wiring = self._stack.wiring
        if self._site is None:
            self._site = await connect(wiring.database_url)
        if self._prefect is None:
            self._prefect = await asyncpg.connect(
                wiring.prefect_database_url.replace("postgresql+asyncpg", "postgresql"), timeout=5
            )
        rows = await self._site.fetch(_ROWS, timeout=5)
        runs = {
            run["id"]: run for run in await self._prefect.fetch(_RUNS, [row["flow_run_id"] for row in rows], timeout=5)
        }
        now = time.monotonic()
        self.samples += 1
        disagreeing = set()
        for row in rows:
            job, run = str(row["id"]), runs.get(row["flow_run_id"])
            self.pairs.add(job)
            if run is None or run["state_type"] is None:
                continue  # no run yet, or one that was deleted: every status goes with that
            if not agree(row["status"], run["state_type"], run["state_name"]):
                disagreeing.add(job)
                self._note(job, now, row, run)
        for job in self._open.keys() - disagreeing:
            del self._open[job]
        return True

    def _note(self, job: str, now: float, row: Any, run: Any) -> None:
        found = self._open.setdefault(job, Disagreement(job, now))
        found.note(now, f"row {row['status']}, Prefect {run['state_type']} ({run['state_name']})")
        if job not in self.worst or self.worst[job].seconds <= found.seconds:
            self.worst[job] = found

    def _drop_connections(self) -> None:
        for connection in (self._site, self._prefect):
            if connection is not None:
                connection.terminate()
        self._site = self._prefect = None
