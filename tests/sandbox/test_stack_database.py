"""The database of the sandbox: what a hosted project has, the API in front of it, and the migrations."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from sandbox.errors import SandboxError
from sandbox.migrate import MIGRATIONS, apply_migrations, read_migrations, statements
from sandbox.stack import Stack


@pytest.fixture
async def scratch(database: Stack) -> AsyncIterator[str]:
    """The address of an empty database on the same server."""
    base, _, _ = database.wiring.database_url.rpartition("/")
    connection = await asyncpg.connect(database.wiring.database_url)
    await connection.execute("create database scratch")
    yield f"{base}/scratch"
    await connection.execute("drop database scratch with (force)")
    await connection.close()


async def test_roles_are_a_hosted_projects(database: Stack) -> None:
    connection = await asyncpg.connect(database.wiring.database_url)
    rows = await connection.fetch("select rolname, rolsuper, rolbypassrls, rolcanlogin, rolinherit from pg_roles")
    await connection.close()
    roles = {row["rolname"]: tuple(row)[1:] for row in rows}
    assert roles["postgres"] == (False, True, True, True)
    assert roles["service_role"] == (False, True, False, False)
    assert roles["authenticator"] == (False, False, True, False)
    assert roles["anon"] == roles["authenticated"] == (False, False, False, False)


async def test_every_migration_is_recorded_as_the_supabase_cli_does(database: Stack) -> None:
    connection = await asyncpg.connect(database.wiring.database_url)
    rows = await connection.fetch(
        "select version, name, statements from supabase_migrations.schema_migrations order by 1"
    )
    await connection.close()
    assert [(row["version"], row["name"]) for row in rows] == [
        (migration.version, migration.name) for migration in read_migrations(MIGRATIONS)
    ]
    assert all(row["statements"] for row in rows)


async def test_api_asks_for_a_key_and_obeys_it(database: Stack) -> None:
    async with _api(database) as api:
        without = await api.get("/rest/v1/users")
        assert (without.status_code, without.json()) == (401, {"message": "No API key found in request"})
        wrong = await api.get("/rest/v1/users", headers={"apikey": "x.y.z"})
        assert wrong.status_code == 401
        right = await api.get("/rest/v1/users?select=id", headers={"apikey": database.wiring.service_key})
        assert (right.status_code, right.json()) == (200, [])


async def test_api_is_unavailable_while_postgrest_is_stopped(database: Stack) -> None:
    await database.stop("postgrest")
    async with _api(database) as api:
        answer = await api.get("/rest/v1/users", headers={"apikey": database.wiring.service_key})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        await database.start("postgrest")
        answer = await api.get("/rest/v1/users?select=id", headers={"apikey": database.wiring.service_key})
        assert answer.status_code == 200


async def test_api_sees_a_new_table_by_itself(database: Stack) -> None:
    connection = await asyncpg.connect(database.wiring.database_url)
    await connection.execute("create table public.made_later (id int primary key)")
    try:
        async with _api(database) as api, asyncio.timeout(5):
            while True:
                answer = await api.get("/rest/v1/made_later", headers={"apikey": database.wiring.service_key})
                if answer.status_code == 200:
                    break
    finally:
        await connection.execute("drop table public.made_later")
        await connection.close()


async def test_committed_rows_survive_a_killed_server(database: Stack) -> None:
    connection = await asyncpg.connect(database.wiring.database_url)
    await connection.execute("create table public.kept (id int); insert into public.kept values (1)")
    await database.kill("postgres")
    connection.terminate()
    await database.start("postgres")
    connection = await asyncpg.connect(database.wiring.database_url)
    assert await connection.fetchval("select id from public.kept") == 1
    await connection.execute("drop table public.kept")
    await connection.close()


async def test_migrations_are_applied_once(scratch: str, tmp_path: Path) -> None:
    _write(tmp_path, "20260101000000_create_a.sql", "create table a (id int);")
    assert await apply_migrations(scratch, tmp_path) == ["20260101000000_create_a.sql"]
    assert await apply_migrations(scratch, tmp_path) == []


async def test_an_edited_migration_is_refused(scratch: str, tmp_path: Path) -> None:
    _write(tmp_path, "20260101000000_create_a.sql", "create table a (id int);")
    await apply_migrations(scratch, tmp_path)
    _write(tmp_path, "20260101000000_create_a.sql", "create table a (id bigint);")
    with pytest.raises(SandboxError, match=r"20260101000000_create_a\.sql was edited after it was applied"):
        await apply_migrations(scratch, tmp_path)


async def test_a_migration_older_than_the_newest_applied_is_refused(scratch: str, tmp_path: Path) -> None:
    _write(tmp_path, "20260102000000_create_b.sql", "create table b (id int);")
    await apply_migrations(scratch, tmp_path)
    _write(tmp_path, "20260101000000_create_a.sql", "create table a (id int);")
    with pytest.raises(SandboxError, match="is older than 20260102000000, which is applied already"):
        await apply_migrations(scratch, tmp_path)


async def test_a_failing_migration_names_file_and_line_and_leaves_nothing(scratch: str, tmp_path: Path) -> None:
    _write(tmp_path, "20260101000000_create_a.sql", "create table a (id int);\n\n-- why\nselect\n  wrong from a;\n")
    with pytest.raises(SandboxError, match=r'create_a\.sql:5: column "wrong" does not exist'):
        await apply_migrations(scratch, tmp_path)
    _write(tmp_path, "20260101000000_create_a.sql", "create table a (id int);\n\n-- why\ncreate table a (id int);\n")
    with pytest.raises(SandboxError, match=r'create_a\.sql:4: relation "a" already exists'):
        await apply_migrations(scratch, tmp_path)


async def test_a_migration_that_commits_by_itself_is_refused(scratch: str, tmp_path: Path) -> None:
    _write(tmp_path, "20260101000000_create_a.sql", "create table a (id int);\n-- then\nCOMMIT;\n")
    with pytest.raises(SandboxError, match=r"create_a\.sql:2: `COMMIT` is not allowed"):
        await apply_migrations(scratch, tmp_path)


# A text, and where it falls apart.
@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select 1; select 2", ["select 1", "select 2"]),
        ("select ';'; select \"a;b\"", ["select ';'", 'select "a;b"']),
        ("select 'it''s;'; -- no; end\nselect 2; /* ; */ ", ["select 'it''s;'", "-- no; end\nselect 2"]),
        ("do $$ begin; end $$; select $x$ ; $$ ; $x$;", ["do $$ begin; end $$", "select $x$ ; $$ ; $x$"]),
        ("create function f() returns int begin atomic select 1; end; select 2;", None),
    ],
)
def test_statements_end_at_their_own_semicolons(sql: str, expected: list[str] | None) -> None:
    found = [statement.text for statement in statements(sql)]
    assert found == (expected or ["create function f() returns int begin atomic select 1; end", "select 2"])


def _write(folder: Path, name: str, sql: str) -> None:
    (folder / name).write_text(sql)


def _api(stack: Stack) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=stack.wiring.supabase_url, trust_env=False)
