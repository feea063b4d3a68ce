"""A backup is enough: what docs/operations.md says of restoring is done to a real dump of a real database."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import asyncpg
import pytest

from deployments.migrate import apply_migrations
from sandbox.postgres import find_installation
from sandbox.stack import Stack
from sandbox.state import REPOSITORY
from tests.conftest import Connection

ACCEPT = {"job_type": "crawl_pending", "origin": "dashboard", "priority": "MEDIUM", "exclusive_key": "crawl_pending"}


def dump_words() -> list[str]:
    """How an operator is told to call pg_dump."""
    found = re.search(r"`pg_dump (.*?) \"\$DATABASE_URL\"`", (REPOSITORY / "docs/operations.md").read_text())
    assert found is not None
    return found[1].split()


def statements_after_a_restore() -> str:
    """The SQL that an operator is told to run in a restored database."""
    section = (REPOSITORY / "docs/operations.md").read_text().split("**After a restore", 1)[1]
    found = re.search(r"```sql\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


async def accept(connection: Connection) -> dict[str, object]:
    """A job as the dashboard makes it."""
    audit = {"actor": "somebody", "action": "trigger"}
    answer = await connection.fetchval(
        "select public.accept_job(p_job => $1, p_audit => $2)", json.dumps(ACCEPT), json.dumps(audit)
    )
    job: dict[str, object] = json.loads(answer)["job"]
    return job


async def run(stack: Stack, program: str, *words: str) -> None:
    """Runs one of Postgres' programs to its end."""
    binaries = find_installation(stack.state).binaries
    process = await asyncio.create_subprocess_exec(str(binaries / program), *words, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


@pytest.fixture
async def restored(
    clean_database: Stack, sql: Connection, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """The address of a database restored from a dump in which a job waits, a mail is planned and one is under way."""
    await accept(sql)
    await sql.execute(
        "insert into email_deliveries (dedupe_key, job_type, period, user_id, email_type, status)"
        " select 'weekly_digest:2026-W48:' || one, 'weekly_digest', '2026-W48', gen_random_uuid(), 'weekly-trending',"
        " one from unnest(array['planned', 'sending', 'sent']) one"
    )
    url = clean_database.wiring.database_url
    dump = str(tmp_path_factory.mktemp("backup") / "dump")
    await run(clean_database, "pg_dump", *dump_words(), "--file", dump, url)
    base, _, _ = url.rpartition("/")
    await sql.execute("create database restored template template0")
    # As Supabase's own superuser: a dump has default privileges in it that only that role may set.
    owner = f"{clean_database.wiring.owner_url}/restored"
    await run(clean_database, "pg_restore", "--clean", "--if-exists", "--no-owner", "--dbname", owner, dump)
    yield f"{base}/restored"
    await sql.execute("drop database restored with (force)")


async def test_a_restored_database_holds_everything_and_starts_nothing_before_it_is_told(restored: str) -> None:
    assert await apply_migrations(restored) == []
    connection = await asyncpg.connect(restored)
    try:
        await connection.execute(statements_after_a_restore())
        assert await connection.fetchval("select count(*) from scheduled_jobs") == 1
        mails = await connection.fetch("select status, count(*) from email_deliveries group by 1 order by 1")
        assert [tuple(row) for row in mails] == [("sent", 1), ("unknown", 2)]
        assert "restored from a backup" in await connection.fetchval("select public.pause_reason()")
        later = await accept(connection)
        assert str(later["pending_reason"]).startswith("paused")
        assert await connection.fetch("select * from public.claim_dispatch(10)") == []
    finally:
        await connection.close()
