"""Real parts for the tests: the sandbox's own stack on free ports, in a temporary folder.

`database` is Postgres behind PostgREST and its gateway; `stack` is everything, with Prefect, a worker and the shim.
They are two stacks, because a worker and a sweep would move the rows that a test of the database has set up.

`make test PROCESSES=3` runs three processes side by side (pytest-xdist): two for the end-to-end tests, which mostly
wait, and one for the rest; those in the browser go to whichever has time. A file always runs in one process, and each
process has its own stacks.
"""

import asyncio
import os
import shutil
import time
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
# The tests trigger faster than a person may.
_SHIM_SETTINGS = {"RATE_LIMIT_PER_MINUTE": "0"}
# The end-to-end tests of the one process; those of the other are all the rest. Each takes about as long.
_FIRST_HALF = {
    "test_crawl",
    "test_crawler_faults",
    "test_deaths",
    "test_mail_jobs",
    "test_weekly_digest",
    "test_worker",
}
_PORTS_EACH = 3_000

_BADLY_ENDED = {"flow_runs": {"state": {"type": {"any_": ["CANCELLED", "CRASHED", "FAILED"]}}}, "limit": 50}
_TABLES = "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'public'"


def pytest_configure() -> None:
    """Stacks of processes side by side do not choose the same ports."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        first = 20_000 + _PORTS_EACH * int(worker.removeprefix("gw"))
        os.environ["SANDBOX_PORTS"] = f"{first}-{first + _PORTS_EACH}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Which process a test runs in, where there are several: said before pytest-xdist looks for it."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    if item.path.parent.name == "browser":
        return "in the browser"
    if item.path.parent.name in {"e2e", "chaos"} or "stack" in getattr(item, "fixturenames", ()):
        return f"end to end, {'first' if item.path.stem in _FIRST_HALF else 'second'} half"
    return "the rest"


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
    await make_clean(stack)
    return stack


@pytest.fixture
async def sql(clean_database: Stack) -> AsyncIterator[Connection]:
    """A connection to the emptied database, as the role that owns the tables."""
    connection = await asyncpg.connect(clean_database.wiring.database_url)
    yield connection
    await connection.close()


async def make_clean(stack: Stack) -> None:
    """Starts what does not run, and takes away rows, faults and what stand-ins remember."""
    for part in ALL_PARTS:
        if not stack.is_running(part):
            await stack.start(part)
    async with httpx.AsyncClient(trust_env=False) as http:
        for service in ("clerk", "site", *SERVICES):
            url = stack.wiring.url(service)
            (await http.put(f"{url}/__faults", json={"fault": None})).raise_for_status()
            (await http.delete(f"{url}/__calls")).raise_for_status()
    # In this order: nobody dispatches what has no row, and what runs without one ends.
    await empty_tables(stack)
    await _end_runs(stack)
    await empty_tables(stack)
    await _forget_the_gap(stack)


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


async def _end_runs(stack: Stack) -> None:
    """No run is left of an earlier test: one that is due and has no row gets one, and would be a job of the next."""
    url = stack.wiring.url("prefect")
    open_runs = {
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED"]}}}
    }
    patience = time.monotonic() + 20
    async with httpx.AsyncClient(trust_env=False, headers=stack.wiring.prefect_headers, timeout=30) as http:
        while runs := (await http.post(f"{url}/flow_runs/filter", json=open_runs)).raise_for_status().json():
            for run in runs:
                # One that is under way would still write; one that nobody has in hand stays for ever.
                if run["state_type"] == "SCHEDULED" or time.monotonic() > patience:
                    gone = await http.delete(f"{url}/flow_runs/{run['id']}")
                    assert gone.status_code in {204, 404}, gone.text
            await asyncio.sleep(0.2)
        # One that ended badly within the last minutes and has no row gets one as well.
        while (await http.post(f"{url}/flow_runs/bulk_delete", json=_BADLY_ENDED)).raise_for_status().json()["deleted"]:
            pass


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
    settings = _FLOW_SETTINGS | _SHIM_SETTINGS
    async with Stack(folder, ports="free", parts=parts, settings=settings, worker_type=worker_type) as stack:
        yield stack
    # The logs stay for whoever looks into a failure; a cluster a session would fill the disk.
    shutil.rmtree(folder / "pgdata", ignore_errors=True)
