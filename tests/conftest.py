"""Real parts for the tests: the sandbox's own stack on free ports, in a temporary folder.

`database` is Postgres behind PostgREST and its gateway; `stack` is everything, with Prefect, a worker and the shim.
They are two stacks, because a worker and a sweep would move the rows that a test of the database has set up.
"""

import os
import shutil
from collections.abc import AsyncIterator, Iterable
from typing import TypeAlias

import asyncpg
import httpx
import pytest

from sandbox.stack import ALL_PARTS, DATABASE_PARTS, Stack
from sandbox.wiring import SERVICES

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

# Long enough for the stand-in crawler's slowest batch (10 s), short enough to wait out three lost answers in a test.
_FLOW_SETTINGS = {"CRAWLER_TIMEOUT_SECONDS": "13", "CRAWL_SETTLE_SECONDS": "3", "EMAIL_TIMEOUT_SECONDS": "2"}
_TABLES = "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'public'"


@pytest.fixture(scope="session")
async def database(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Postgres with the site's tables and our migrations, PostgREST and the gateway."""
    async for stack in _running(tmp_path_factory, "database", DATABASE_PARTS):
        yield stack


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Everything. Prefect makes it slow to start: a test that can do with `database` should."""
    async for stack in _running(tmp_path_factory, "stack", ALL_PARTS):
        yield stack


@pytest.fixture
async def clean_database(database: Stack) -> Stack:
    """The database without a row in any table."""
    await empty_tables(database)
    return database


@pytest.fixture
async def clean_stack(stack: Stack) -> Stack:
    """Everything running, without a row in any table, a fault in any stand-in, or a memory of earlier calls."""
    for part in ALL_PARTS:
        if not stack.is_running(part):
            await stack.start(part)
    async with httpx.AsyncClient(trust_env=False) as http:
        for service in ("clerk", "site", *SERVICES):
            url = stack.wiring.url(service)
            (await http.put(f"{url}/__faults", json={"fault": None})).raise_for_status()
            (await http.delete(f"{url}/__calls")).raise_for_status()
    await empty_tables(stack)
    await _forget_the_gap(stack)
    return stack


@pytest.fixture
async def sql(clean_database: Stack) -> AsyncIterator[Connection]:
    """A connection to the emptied database, as the role that owns the tables."""
    connection = await asyncpg.connect(clean_database.wiring.database_url)
    yield connection
    await connection.close()


async def empty_tables(stack: Stack) -> None:
    """Remove every row of the site's tables and of ours; those that are empty already cost nothing."""
    connection = await asyncpg.connect(stack.wiring.database_url)
    try:
        await connection.execute("set lock_timeout = '10s'")
        names = [row[0] for row in await connection.fetch(_TABLES)]
        questions = " union all ".join(f"select '{name}' where exists (select from {name})" for name in names)
        if filled := [row[0] for row in await connection.fetch(questions)]:
            await connection.execute(f"truncate {', '.join(filled)} restart identity cascade")
    finally:
        await connection.close()


async def _forget_the_gap(stack: Stack) -> None:
    """Without its row the sweep would see a gap, and give every lease its full length again before it reaps one."""
    connection = await asyncpg.connect(stack.wiring.database_url)
    try:
        await connection.execute(
            "insert into public.sweep_state (swept_at, grace_until) values (now(), now())"
            " on conflict (only_row) do update set swept_at = now(), grace_until = now()"
        )
    finally:
        await connection.close()


async def _running(tmp_path_factory: pytest.TempPathFactory, name: str, parts: Iterable[str]) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp(name)
    worker_type = os.environ.get("WORKER") or "forkserver"
    async with Stack(folder, ports="free", parts=parts, settings=_FLOW_SETTINGS, worker_type=worker_type) as stack:
        yield stack
    # The logs stay for whoever looks into a failure; a cluster a session would fill the disk.
    shutil.rmtree(folder / "pgdata", ignore_errors=True)
