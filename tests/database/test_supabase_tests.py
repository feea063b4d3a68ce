"""Runs supabase/tests, each file as one test, and shows that each of them can fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest

from sandbox.stack import Stack

FOLDER = Path(__file__).resolve().parents[2] / "supabase" / "tests"
FILES = sorted(path.name for path in FOLDER.glob("[a-z]*.sql"))

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture
async def session(database: Stack) -> AsyncIterator[Connection]:
    """A session of its own, as psql has one a file, with the tests' words; nothing of it stays."""
    connection = await asyncpg.connect(database.wiring.database_url)
    await connection.execute((FOLDER / "_words.sql").read_text(encoding="utf-8"))
    try:
        yield connection
    finally:
        # A file that has failed left its transaction open.
        await connection.execute("rollback")
        await connection.close()


async def run(session: Connection, name: str, *, after: str = "") -> None:
    """Runs a file; `after` is a change made in its transaction before its cases."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    begin, cases = text.split("begin;\n", 1)
    await session.execute(f"{begin}begin;\n{after};\n{cases}")


def test_there_is_a_file_for_every_rule() -> None:
    assert FILES == ["accept.sql", "claims.sql", "gate.sql", "grants.sql", "lease.sql", "terminal.sql"]


@pytest.mark.parametrize("name", FILES)
async def test_rules_hold(session: Connection, name: str) -> None:
    before = await session.fetchval("select count(*) from public.scheduled_jobs")
    await run(session, name)
    assert not session.is_in_transaction(), f"{name} does not end its transaction"
    assert await session.fetchval("select count(*) from public.scheduled_jobs") == before, f"{name} leaves rows behind"


_LATER = (
    "create function public.added_later() returns integer language sql as 'select 1';"
    " insert into supabase_migrations.schema_migrations (version, name, statements)"
    " values ('29990101000000', 'add_it', array['create function public.added_later() returns integer language sql'])"
)
_LATER_TABLE = (
    "create table public.added_later (id bigint);"
    " insert into supabase_migrations.schema_migrations (version, name, statements)"
    " values ('29990101000000', 'add_it', array['create table if not exists public.added_later (id bigint)'])"
)
_WITHOUT_LEASE = (
    "create function public.added_later(p_job uuid, p_fence bigint, p_ids uuid[]) returns integer"
    " language sql as 'select 1'"
)
_LENIENT = "create or replace function public.{}({}) returns {} language plpgsql as $$ begin {} end $$"


@pytest.mark.parametrize(
    ("name", "after", "message"),
    [
        ("grants.sql", "grant execute on function public.accept_job to anon", r"anon may call accept_job\("),
        ("grants.sql", "grant execute on function public.find_stale to public", r"authenticated may call find_stale\("),
        ("grants.sql", "grant select on public.crawl_claims to authenticated", "authenticated may select crawl_claims"),
        (
            "grants.sql",
            "grant update (fence) on public.scheduled_jobs to anon",
            "anon may update a column of scheduled_",
        ),
        ("grants.sql", "alter table public.stale_walk disable row level security", "stale_walk has no row-level sec"),
        ("grants.sql", "create policy p on public.job_types for select using (true)", "policy p lets somebody into"),
        (
            "grants.sql",
            "alter function public.open_runs reset search_path",
            r"open_runs\(.*\) has no pinned search_path",
        ),
        ("grants.sql", "comment on function public.beat_job is null", r"beat_job\(.*\) has no comment"),
        ("grants.sql", "comment on table public.job_events is null", "job_events has no comment"),
        (
            "grants.sql",
            "revoke execute on function public.take_job from service_role",
            "service_role may not call take_",
        ),
        (
            "grants.sql",
            "revoke select on public.maintenance from service_role",
            "service_role may not read maintenance",
        ),
        ("grants.sql", _LATER, r"anon may call added_later\(\)"),  # found without a line of the test being changed
        ("grants.sql", _LATER_TABLE, "anon may select added_later"),
        ("lease.sql", _WITHOUT_LEASE, r"added_later\(.*\) asks for no lease: let through"),
        (
            "lease.sql",
            _LENIENT.format("require_lease", "p_id uuid, p_fence bigint", "void", ""),
            "another fence passes",
        ),
        (
            "terminal.sql",
            "alter table public.scheduled_jobs disable trigger guard_scheduled_jobs",
            "has no time|leaves",
        ),
        ("gate.sql", "drop index public.idx_scheduled_jobs_slot", "a held gate lets a second job in"),
        ("accept.sql", "alter table public.scheduled_jobs disable trigger note_job_event", "no event tells of it"),
        (
            "claims.sql",
            _LENIENT.format("crawl_claim_lives", "p_job_id uuid, p_fence bigint", "boolean", "return false;"),
            "what is held is claimed again",
        ),
    ],
)
async def test_a_broken_rule_is_named(session: Connection, name: str, after: str, message: str) -> None:
    with pytest.raises(asyncpg.exceptions.AssertError, match=message):
        await run(session, name, after=after)
