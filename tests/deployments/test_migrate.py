"""`python -m deployments.migrate` on a real Postgres: once, in order, alone, and in plain words where it cannot."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from deployments import migrate
from deployments.migrate import apply_migrations, read_plan
from deployments.migrations import MigrationError, read_migrations
from sandbox.ports import free_ports
from tests.deployments.conftest import Folder

# As the Supabase CLI makes it.
CLI_RECORD = """
create schema supabase_migrations;
create table supabase_migrations.schema_migrations (version text not null primary key, statements text[], name text);
"""
OLD_CLI_RECORD = """
create schema supabase_migrations;
create table supabase_migrations.schema_migrations (version text not null primary key);
"""
RECORDED = "select version, name, statements from supabase_migrations.schema_migrations order by 1"


@pytest.fixture
async def eye(scratch: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection of the test's own to the empty database."""
    connection = await asyncpg.connect(scratch)
    yield connection
    await connection.close()


async def test_migrations_are_applied_once(scratch: str, folder: Folder) -> None:
    first, second = folder.write("a", "create table a (id int);"), folder.write("b", "create table b (id int);")
    assert await apply_migrations(scratch, folder.path) == [first, second]
    assert await apply_migrations(scratch, folder.path) == []


async def test_two_at_once_apply_each_migration_once(scratch: str, folder: Folder) -> None:
    names = [folder.write(name, f"create table {name} (id int); select pg_sleep(0.2);") for name in "abc"]
    said: list[str] = []
    one, other = await asyncio.gather(
        apply_migrations(scratch, folder.path, say=said.append), apply_migrations(scratch, folder.path, say=said.append)
    )
    assert sorted([one, other]) == [[], names]
    assert said.count("another migration is under way: waiting for it") == 1


async def test_a_migration_is_recorded_as_the_supabase_cli_does(
    scratch: str, folder: Folder, eye: asyncpg.Connection[asyncpg.Record]
) -> None:
    folder.write("a", "-- why\ncreate table a (id int);\ninsert into a values (1);\n")
    await apply_migrations(scratch, folder.path)
    (row,) = await eye.fetch(RECORDED)
    assert tuple(row) == (
        "20260101000000",
        "create_a",
        ["-- why\ncreate table a (id int)", "insert into a values (1)"],
    )


async def test_a_failure_leaves_the_earlier_ones_and_says_where(
    scratch: str, folder: Folder, eye: asyncpg.Connection[asyncpg.Record]
) -> None:
    folder.write("a", "create table a (id int);")
    folder.write("b", "create table b (id int);\n\n-- why\nselect\n  wrong from b;\n")
    folder.write("c", "create table c (id int);")
    with pytest.raises(MigrationError) as failure:
        await apply_migrations(scratch, folder.path)
    assert str(failure.value).endswith(
        'create_b.sql:5: column "wrong" does not exist (SQLSTATE 42703, statement 2 of 2).'
    )
    assert [row["name"] for row in await eye.fetch(RECORDED)] == ["create_a"]
    assert await eye.fetchval("select to_regclass('b') is null and to_regclass('c') is null")
    folder.write("b", "create table b (id int);\n")
    assert len(await apply_migrations(scratch, folder.path)) == 2


async def test_a_failure_without_a_position_names_the_statements_line(scratch: str, folder: Folder) -> None:
    folder.write("a", "create table a (id int);\n\n-- why\ncreate table a (id int);\n")
    with pytest.raises(MigrationError, match=r'create_a\.sql:4: relation "a" already exists \(SQLSTATE 42P07'):
        await apply_migrations(scratch, folder.path)


async def test_settings_of_a_file_end_with_it(scratch: str, folder: Folder) -> None:
    folder.write("a", "set search_path = pg_catalog; set lock_timeout = '1s'; select 1;")
    folder.write("b", "create table seen as select current_setting('lock_timeout') as lock_timeout;")
    folder.write("c", "do $$ begin assert (select lock_timeout from public.seen) = '0'; end $$;")
    assert len(await apply_migrations(scratch, folder.path)) == 3


async def test_a_table_in_use_is_asked_for_again(
    scratch: str, folder: Folder, eye: asyncpg.Connection[asyncpg.Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_PAUSES_SECONDS", (0.01, 0.01))
    folder.write("a", "create table a (id int);")
    await apply_migrations(scratch, folder.path)
    name = folder.write("b", "set lock_timeout = '50ms';\nalter table a add column more int;")
    said: list[str] = []
    async with eye.transaction():
        await eye.execute("lock table a in access share mode")
        with pytest.raises(MigrationError, match=r"create_b\.sql:2: canceling .* lock timeout \(SQLSTATE 55P03"):
            await apply_migrations(scratch, folder.path, say=said.append)
    assert ["again in 0.01 s" in line for line in said] == [True, True]
    assert await apply_migrations(scratch, folder.path) == [name]


# What the CLI has left: its record with everything, and that of an old release of it, with versions alone.
@pytest.mark.parametrize(
    ("record", "insert"),
    [
        (CLI_RECORD, "('20260101000000', '{create table a (id int)}', 'create_a')"),
        (OLD_CLI_RECORD, "('20260101000000')"),
    ],
)
async def test_what_the_supabase_cli_applied_is_not_applied_again(
    scratch: str, folder: Folder, eye: asyncpg.Connection[asyncpg.Record], record: str, insert: str
) -> None:
    await eye.execute(f"{record}; insert into supabase_migrations.schema_migrations values {insert}")
    folder.write("a", "create table a (id int);")
    name = folder.write("b", "create table b (id int);")
    plan = await read_plan(scratch, folder.path)
    assert ([m.path.name for m in plan.pending], len(plan.applied)) == ([name], 1)
    assert await apply_migrations(scratch, folder.path) == [name]


async def test_what_other_repositories_recorded_keeps_nobody_up(
    scratch: str, folder: Folder, eye: asyncpg.Connection[asyncpg.Record]
) -> None:
    await eye.execute(
        f"{CLI_RECORD}; insert into supabase_migrations.schema_migrations (version, name) values"
        " ('20250101000000', 'create_users'), ('20990101000000', 'add_pages')"
    )
    name = folder.write("a", "create table a (id int);")
    assert await apply_migrations(scratch, folder.path) == [name]
    assert [entry.name for entry in (await read_plan(scratch, folder.path)).others] == ["create_users", "add_pages"]


async def test_a_version_that_somebody_else_has_used_is_refused(
    scratch: str, folder: Folder, eye: asyncpg.Connection[asyncpg.Record]
) -> None:
    await eye.execute(
        f"{CLI_RECORD}; insert into supabase_migrations.schema_migrations (version, name) values"
        " ('20260101000000', 'create_users')"
    )
    folder.write("a", "create table a (id int);")
    with pytest.raises(MigrationError, match="version 20260101000000 is recorded as 'create_users'"):
        await apply_migrations(scratch, folder.path)


async def test_an_edited_migration_is_refused(scratch: str, folder: Folder) -> None:
    folder.write("a", "create table a (id int);")
    await apply_migrations(scratch, folder.path)
    folder.write("a", "create table a (id bigint);")
    with pytest.raises(MigrationError, match=r"create_a\.sql was edited after it was applied"):
        await apply_migrations(scratch, folder.path)


async def test_a_migration_older_than_the_newest_applied_is_refused_unless_all_are_wanted(
    scratch: str, folder: Folder
) -> None:
    folder.write("b", "create table b (id int);")
    await apply_migrations(scratch, folder.path)
    name = folder.write("a", "create table a (id int);")
    with pytest.raises(MigrationError, match="is older than 20260101000100, which is applied already"):
        await apply_migrations(scratch, folder.path)
    assert await apply_migrations(scratch, folder.path, include_all=True) == [name]


async def test_a_database_ahead_of_the_files_is_refused_unless_that_is_meant(scratch: str, folder: Folder) -> None:
    folder.write("a", "create table a (id int);")
    gone = folder.write("b", "create table b (id int);")
    await apply_migrations(scratch, folder.path)
    (folder.path / gone).unlink()
    with pytest.raises(MigrationError, match=r"20260101000100_create_b was applied here and its file is missing"):
        await apply_migrations(scratch, folder.path)
    assert await apply_migrations(scratch, folder.path, ahead=True) == []


async def run(database_url: str | None, *words: str) -> tuple[int | None, str, str]:
    """The command as a Job runs it: its exit status and what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deployments.migrate",
        *words,
        env=environment | ({"DATABASE_URL": database_url} if database_url is not None else {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def test_command_says_what_is_pending_without_touching_the_database(
    scratch: str, eye: asyncpg.Connection[asyncpg.Record]
) -> None:
    count = len(read_migrations())
    code, output, _ = await run(scratch, "--dry-run")
    assert (code, output.splitlines()[-1]) == (0, f"{count} to apply, 0 applied already")
    code, output, _ = await run(scratch, "--status")
    assert (code, output.splitlines()[-1]) == (0, f"0 applied, {count} pending")
    assert await eye.fetchval("select count(*) from pg_namespace where nspname = 'supabase_migrations'") == 0


# What is wrong with an address, and what is said of it.
@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, "DATABASE_URL is not set"),
        ("postgresql://postgres:hunter/2@127.0.0.1:5432/x", "is not a connection string"),  # a password unescaped
        ("mysql://postgres:hunter2@127.0.0.1/x", "is not a connection string"),
        ("postgresql://postgres:hunter2@127.0.0.1:{closed}/x", "does not answer: connection refused"),
        ("postgresql://postgres:hunter2@127.0.0.1:{open}/x", "refuses the connection: password authentication failed"),
    ],
)
async def test_command_never_prints_the_address(scratch: str, url: str | None, message: str) -> None:
    known = urlsplit(scratch).port
    words = url.format(closed=free_ports(["another"])["another"], open=known) if url else url
    code, output, errors = await run(words, "--wait", "0")
    assert code == 1
    assert message in errors
    assert "hunter" not in output + errors
    assert "Traceback" not in errors


async def test_command_waits_for_a_database_that_starts(scratch: str) -> None:
    target, port = urlsplit(scratch), free_ports(["another"])["another"]
    late = target._replace(netloc=target.netloc.replace(str(target.port), str(port))).geturl()
    command = asyncio.create_task(run(late, "--dry-run", "--wait", "60"))
    await asyncio.sleep(1.5)

    async def through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection("127.0.0.1", target.port)
        await asyncio.gather(_copy(reader, onward[1]), _copy(onward[0], writer))

    async with await asyncio.start_server(through, "127.0.0.1", port):
        code, output, errors = await command
    assert (code, errors) == (0, "")
    assert output.startswith("the database does not answer (connection refused): waiting for it\n")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()
