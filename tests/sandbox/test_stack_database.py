"""The database of the sandbox: what a hosted project has, and the API in front of it."""

import asyncio

import asyncpg
import httpx

from deployments.migrations import read_migrations
from sandbox.stack import Stack


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
        (migration.version, migration.name) for migration in read_migrations()
    ]
    assert all(row["statements"] for row in rows)


async def test_api_asks_for_a_key_and_obeys_it(database: Stack) -> None:
    async with _api(database) as api:
        without = await api.get("/rest/v1/users")
        assert (without.status_code, without.json()) == (401, {"message": "No API key found in request"})
        wrong = await api.get("/rest/v1/users", headers={"apikey": "x.y.z"})
        assert wrong.status_code == 401
        nobody = "/rest/v1/users?select=id&clerk_user_id=eq.nobody"
        right = await api.get(nobody, headers={"apikey": database.wiring.service_key})
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


def _api(stack: Stack) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=stack.wiring.supabase_url, trust_env=False)
