"""A connection to the site's database with our tables empty, and small words for what the tests do with it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest

from sandbox.stack import Stack
from tests.maintenance import MAINTAINED, Maintenance

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Scheduler:
    """The SQL functions as Python calls; JSON in and out, one committed transaction each."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def call(self, function: str, **parameters: Any) -> Any:
        names = ", ".join(f"p_{name} => ${position}" for position, name in enumerate(parameters, 1))
        return await self.connection.fetchval(f"select public.{function}({names})", *parameters.values())

    async def rows(self, function: str, **parameters: Any) -> list[dict[str, Any]]:
        names = ", ".join(f"p_{name} => ${position}" for position, name in enumerate(parameters, 1))
        found = await self.connection.fetch(f"select * from public.{function}({names})", *parameters.values())
        return [dict(row) for row in found]

    async def rows_read(self, statement: str) -> int:
        """How many rows of scheduled_jobs a statement looks at."""
        looked_at = (
            "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables"
            " where relid = 'public.scheduled_jobs'::regclass"
        )
        async with self.connection.transaction():
            before: int = await self.connection.fetchval(looked_at)
            await self.connection.fetch(statement)
            return int(await self.connection.fetchval(looked_at)) - before

    async def accept(self, priority: str = "MEDIUM", key: str | None = "crawl_pending", **job: Any) -> UUID:
        """A job as the dashboard makes it; its id."""
        job = {"job_type": "crawl_pending", "origin": "dashboard", "priority": priority, "exclusive_key": key, **job}
        answer = await self.call("accept_job", job=job, audit={"actor": "somebody", "action": "trigger"})
        return UUID(answer["job"]["id"])

    async def adopt(self, origin: str = "prefect", **given: Any) -> UUID:
        """The row of a run nobody dispatched; its id is the run's."""
        run = uuid4()
        wanted = {
            "flow_run_id": run,
            "idempotency_key": None,
            "job_type": "crawl_pending",
            "parameters": {},
            "origin": origin,
            "exclusive_key": "crawl_pending",
            "scheduled_at": None,
            **given,
        }
        (row,) = await self.rows("adopt_run", **wanted)
        found: UUID = row["id"]
        return found

    async def take(
        self, job: UUID, run: UUID | None = None, attempt: int = 1, worker: str = "another worker"
    ) -> dict[str, Any]:
        answer: dict[str, Any] = await self.call(
            "take_job", id=job, flow_run_id=run or job, attempt=attempt, worker=worker
        )
        return answer

    async def running(self, **job: Any) -> tuple[UUID, int]:
        """A job whose lease is held; its id and fence."""
        job_id = await self.accept(**job)
        taken = await self.take(job_id, worker="a worker")
        assert taken["decision"] == "go", taken
        return job_id, taken["fence"]

    async def finish(self, job: UUID, fence: int, status: str = "completed", error: str | None = None) -> bool:
        result = {"success": status == "completed", "itemsProcessed": 3, "errors": [], "details": {}}
        ended: bool = await self.call("finish_job", id=job, fence=fence, status=status, result=result, error=error)
        return ended

    async def row(self, job: UUID) -> dict[str, Any]:
        found = await self.connection.fetchrow("select * from public.scheduled_jobs where id = $1", job)
        assert found is not None
        return dict(found)

    async def age_lease(self, job: UUID, seconds: float) -> None:
        await self.connection.execute(
            "update public.scheduled_jobs set locked_at = now() - make_interval(secs => $2) where id = $1", job, seconds
        )

    async def sweeps_ran_just_now(self) -> None:
        await self.connection.execute(
            "insert into public.sweep_state (swept_at, grace_until) values (now(), now())"
            " on conflict (only_row) do update set swept_at = now(), grace_until = now()"
        )

    async def sweep_without_grace(self) -> list[dict[str, Any]]:
        """What a sweep reaps when sweeps have been running all along."""
        await self.sweeps_ran_just_now()
        return await self.rows("reap_dead_leases")


async def _connect(stack: Stack) -> Connection:
    connection = await asyncpg.connect(stack.wiring.database_url)
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    return connection


@pytest.fixture
async def scheduler(database: Stack) -> AsyncIterator[Scheduler]:
    connection = await _connect(database)
    await connection.execute(
        "truncate public.scheduled_jobs, public.job_events, public.crawl_claims, public.scheduler_audit,"
        " public.idempotency_keys, public.sweep_state, public.stale_walk; truncate public.discoveries cascade"
    )
    try:
        yield Scheduler(connection)
    finally:
        await connection.close()


@pytest.fixture
async def another(database: Stack) -> AsyncIterator[Scheduler]:
    """A second connection, for what happens at the same time."""
    connection = await _connect(database)
    try:
        yield Scheduler(connection)
    finally:
        await connection.close()


@pytest.fixture
async def maintenance(scheduler: Scheduler) -> Maintenance:
    """A running maintenance job, with nothing there that it could find."""
    await scheduler.connection.execute(f"truncate {MAINTAINED} cascade")
    return await Maintenance.begin(scheduler)


@pytest.fixture
def site(maintenance: Maintenance) -> Connection:
    """The connection that the maintenance job works on."""
    return maintenance.scheduler.connection
