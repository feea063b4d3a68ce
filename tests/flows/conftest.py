"""Bodies of jobs without Prefect: they run in this process, under a lease, against the tests' database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx
import pytest

from flows.clients import database as database_client
from flows.clients import http
from flows.core import lease as leases
from flows.core.settings import settings
from sandbox.stack import Stack
from tests.maintenance import Connection, running_job

Answer = Callable[[httpx.Request], httpx.Response]

_HELD_SECONDS = 3600.0  # as long as the row of running_job says


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
            lease = leases.Lease(await running_job(sql, "cleanup_old_data"), 1)
            lease.renewed(leases.now() + _HELD_SECONDS)  # nobody beats here, and a body waits for ever to be trusted
            leases.enter(lease)

    yield take
    leases._current.set(None)
    await database_client.close()


@pytest.fixture
async def neighbours(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[Answer], None]]:
    """Given a function, has it answer every call of another service, instead of the network."""
    monkeypatch.setenv("SUPABASE_URL", "http://database.test")
    monkeypatch.setenv("SUPABASE_SERVICE_KEY", "x" * 20)
    for name in ("crawler", "discovery", "email", "user"):
        monkeypatch.setenv(f"{name.upper()}_SERVICE_URL", f"http://{name}.test")
    settings.cache_clear()
    answers: list[Answer] = []

    def answer(request: httpx.Request) -> httpx.Response:
        return answers[-1](request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        monkeypatch.setattr(http, "_client", client)
        monkeypatch.setattr(http, "_client_loop", asyncio.get_running_loop())
        monkeypatch.setattr(http, "_silent_until", {})
        yield answers.append
    settings.cache_clear()
