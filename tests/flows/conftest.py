"""Bodies of jobs without Prefect: they run in this process, under a lease, against the tests' database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from flows.clients import database as database_client
from flows.core import lease as leases
from flows.core.settings import settings
from sandbox.stack import Stack
from tests.maintenance import Connection, running_job


@pytest.fixture
def environment(database: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a flow run would find in its environment."""
    monkeypatch.setenv("SUPABASE_URL", database.wiring.supabase_url)
    monkeypatch.setenv("SUPABASE_SERVICE_KEY", database.wiring.service_key)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
async def take_lease(environment: None, sql: Connection) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Makes a job, and holds its lease from then on; the one that this task held before has died."""
    await database_client.close()

    one_at_a_time = asyncio.Lock()

    async def take() -> None:
        async with one_at_a_time:
            if (earlier := leases.current_lease()) is not None:
                await sql.execute("update scheduled_jobs set status = 'failed' where id = $1", earlier.job_id)
            leases.enter(leases.Lease(await running_job(sql, "cleanup_old_data"), 1))

    yield take
    leases._current.set(None)
    await database_client.close()
