"""PostgREST answers 1,000 rows at most and says nothing of the rest: whatever reads rows gets all 1,100 of them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from flows.clients import database as client
from flows.core import lease as leases
from flows.core import scheduled_jobs
from flows.core.crawling import Crawl, Page, Walk
from flows.core.domain import Job, JobStatus
from flows.core.settings import settings
from flows.crawl_pending import Parameters, claim, find_stale, settle
from sandbox.stack import Stack
from tests.database.conftest import Scheduler

MANY = 1100
ROOT = Path(__file__).resolve().parents[2]

# Functions that return rows and are not read with `rows` or `page`: what keeps each answer short.
BOUNDED = {
    "claim_dispatch": "the caller's limit, a handful",
    "recover_dead_jobs": "the caller's limit, 1,000: the next sweep goes on",
    "reap_dead_leases": "ends all; what is not said is told by open_runs",
    "get_job": "one row",
    "list_jobs": "one row, which holds the page",
    "claim_crawl_batch": "a batch, 100",
    "claim_recrawl_batch": "a batch, 100",
    "settle_crawl_batch": "a slice of 100",
}
# Tables that are read directly.
TABLES = {
    ("flows/core/scheduled_jobs.py", "maintenance"): "one row",
    ("api/users.py", "users"): "limit 1",
    ("api/readiness.py", "scheduled_jobs"): "limit 1",
    ("api/catalogue.py", "job_types"): "one row a job type",
}


@pytest.fixture
async def through_postgrest(database: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """The client of this process speaks to the tests' database, as the service role."""
    monkeypatch.setenv("SUPABASE_URL", database.wiring.supabase_url)
    monkeypatch.setenv("SUPABASE_SERVICE_KEY", database.wiring.service_key)
    settings.cache_clear()
    await client.close()
    yield
    await client.close()
    settings.cache_clear()


def sources() -> list[tuple[str, str]]:
    files = [path for package in ("flows", "api") for path in sorted((ROOT / package).rglob("*.py"))]
    return [(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in files]


async def test_every_reader_of_rows_is_known_here(scheduler: Scheduler) -> None:
    """A new one needs a bound, `database.rows`, or an answer in one JSON value, and a test if it can be long."""
    call = re.compile(r'\b(?:(?:patient_|sync_)?rpc|database\.read)\(\s*"(\w+)"')
    called = {name for _, text in sources() for name in call.findall(text)}
    rows = await scheduler.connection.fetch(
        "select proname from pg_proc where pronamespace = 'public'::regnamespace and proretset and proname = any($1)",
        sorted(called),
    )
    assert {row["proname"] for row in rows} == set(BOUNDED)
    tables = {(path, table) for path, text in sources() for table in re.findall(r'\.table\(\s*"?(\w+)"?\)', text)}
    assert tables == set(TABLES)


async def jobs(scheduler: Scheduler, values: str, columns: str) -> list[UUID]:
    """Ids of 1,100 jobs with these values in these columns; `n` counts them."""
    rows = await scheduler.connection.fetch(
        f"insert into public.scheduled_jobs (job_type, origin, {columns})"
        f" select 'crawl_pending', 'dashboard', {values} from generate_series(1, {MANY}) n returning id"
    )
    return [row["id"] for row in rows]


async def test_a_cut_answer_is_what_these_tests_are_about(scheduler: Scheduler, through_postgrest: None) -> None:
    await jobs(scheduler, "gen_random_uuid(), true", "flow_run_id, run_open")
    await scheduler.connection.execute("alter table public.scheduled_jobs disable trigger user")
    await scheduler.connection.execute("update public.scheduled_jobs set updated_at = now() - interval '1 minute'")
    await scheduler.connection.execute("alter table public.scheduled_jobs enable trigger user")
    assert len(await client.rpc("open_runs", limit=MANY)) == 1000


async def test_every_open_run_is_compared_however_many_there_are(scheduler: Scheduler, through_postgrest: None) -> None:
    ids = await jobs(
        scheduler, "gen_random_uuid(), true, now() - interval '1 minute'", "flow_run_id, run_open, updated_at"
    )
    first = await scheduled_jobs.open_runs()
    second = await scheduled_jobs.open_runs(after=first[-1].id)
    assert (len(first), len(second)) == (1000, 100)
    assert {job.id for job in first + second} == set(ids)


async def test_the_jobs_of_any_number_of_runs_are_found(scheduler: Scheduler, through_postgrest: None) -> None:
    ids = await jobs(scheduler, "gen_random_uuid()", "flow_run_id")
    runs = [row["flow_run_id"] for row in await scheduler.connection.fetch("select * from public.scheduled_jobs")]
    assert {job.id for job in await scheduled_jobs.of_runs(runs)} == set(ids)


async def test_every_run_that_must_end_is_told_to_its_worker(scheduler: Scheduler, through_postgrest: None) -> None:
    await jobs(
        scheduler,
        "gen_random_uuid(), 'running', now(), now() - interval '1 minute'",
        "flow_run_id, status, started_at, cancel_requested_at",
    )
    runs = [row["flow_run_id"] for row in await scheduler.connection.fetch("select * from public.scheduled_jobs")]
    orders = await scheduled_jobs.runs_to_end(runs)
    assert {order.flow_run_id for order in orders} == set(runs)


async def test_every_dead_lease_is_ended_and_told_of(scheduler: Scheduler, through_postgrest: None) -> None:
    ids = await jobs(
        scheduler,
        "gen_random_uuid(), 'running', now(), 1, now() - interval '91 seconds', 'a worker', true",
        "flow_run_id, status, started_at, fence, locked_at, locked_by, run_open",
    )
    await scheduler.sweeps_ran_just_now()
    assert len(await scheduled_jobs.reap_dead_leases()) == 1000
    ended = await scheduler.connection.fetch("select id from public.scheduled_jobs where status = 'failed' and died")
    assert {row["id"] for row in ended} == set(ids)
    told = await scheduled_jobs.open_runs()
    told += await scheduled_jobs.open_runs(after=told[-1].id)
    assert {job.id for job in told} == set(ids)
    assert {job.status for job in told} == {JobStatus.FAILED}


async def test_every_dead_job_is_tried_again_by_the_next_sweep_at_the_latest(
    scheduler: Scheduler, through_postgrest: None
) -> None:
    ids = await jobs(scheduler, "'failed', true, now()", "status, died, recover_at")
    made = await scheduled_jobs.recover_dead(1000)
    assert len(made) == 1000
    made += await scheduled_jobs.recover_dead(1000)
    assert {job.retry_of for job in made} == set(ids)
    assert await scheduled_jobs.recover_dead(1000) == []


async def test_every_waiting_job_is_handed_out_once(scheduler: Scheduler, through_postgrest: None) -> None:
    ids = await jobs(scheduler, "'pending'", "status")
    handed_out = await scheduled_jobs.claim_dispatch(1000)
    handed_out += await scheduled_jobs.claim_dispatch(1000)
    assert len(handed_out) == MANY
    assert {job.id for job in handed_out} == set(ids)


async def test_every_job_is_on_some_page_of_the_list(scheduler: Scheduler, through_postgrest: None) -> None:
    ids = await jobs(scheduler, "now() - n * interval '1 minute'", "created_at")
    found: list[Job] = []
    while page := await scheduled_jobs.list_jobs(
        {}, limit=200, before=(found[-1].created_at, found[-1].id) if found else None
    ):
        assert page.total == MANY
        found += [scheduled_jobs.parse(row) for row in page.rows]
        if len(page.rows) < 200:
            break
    assert [job.id for job in found] == ids


@contextmanager
def under_lease(job: UUID, fence: int) -> Iterator[None]:
    """What a run's body finds; taken back, because tests may share a context."""
    token = leases._current.set(leases.Lease(job, fence))
    try:
        yield
    finally:
        leases._current.reset(token)


async def pages(scheduler: Scheduler, crawl_status: str) -> list[UUID]:
    rows = await scheduler.connection.fetch(
        "insert into public.discoveries (url, crawl_status, last_crawled_at)"
        " select 'http://site.test/' || n, $1, now() - interval '40 days' from generate_series(1, $2::int) n"
        " returning id",
        crawl_status,
        MANY,
    )
    return [row["id"] for row in rows]


async def test_every_page_in_doubt_is_settled(scheduler: Scheduler, through_postgrest: None) -> None:
    ids = await pages(scheduler, "pending")
    crawl, held = Crawl(MANY, MANY, 0.0), list[Page]()
    with under_lease(*await scheduler.running()):
        while batch := await claim(crawl, Parameters.model_validate({})):
            held += batch
        assert {page.id for page in held} == set(ids)
        await settle(crawl, held, answered=False)
        assert len(crawl.in_doubt()) == MANY
        await scheduler.connection.execute("update public.discoveries set crawl_status = 'completed'")
        await settle(crawl, crawl.in_doubt(), answered=False)
    assert (crawl.succeeded, crawl.waiting) == (MANY, {})


async def test_every_stale_page_is_found(scheduler: Scheduler, through_postgrest: None) -> None:
    ids = await pages(scheduler, "completed")
    crawl = Crawl(10_000, 0, 0.0, walk=Walk())
    with under_lease(*await scheduler.running()):
        await find_stale(crawl, Parameters.model_validate({"mode": "stale", "older_than_days": 30}))
    assert set(crawl.named) == set(ids)
    assert len(crawl.named) == MANY
