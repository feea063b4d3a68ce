"""Which migrations a database has had: `supabase_migrations.schema_migrations`, as the Supabase CLI keeps it.

`supabase db push` and `python -m deployments.migrate` agree about what has been applied: same table, same versions.
Beside it we keep a checksum of what we applied. An edited migration that has run already is a change that never arrives
anywhere; and the database is the whole site's, so that the record also holds what other repositories have applied to
it: a version without a file here is ours, and a mistake, only where its checksum is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import asyncpg

from deployments.migrations import Migration, MigrationError, Statement

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_EXISTS = """
select to_regclass('supabase_migrations.schema_migrations') is not null as recorded,
  to_regclass('supabase_migrations.checksums') is not null as summed,
  (select count(*) from pg_attribute where attrelid = to_regclass('supabase_migrations.schema_migrations')
     and attname in ('statements', 'name') and not attisdropped) = 2 as whole
"""
# Old releases of the CLI kept the version alone.
_CREATE = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text not null primary key);
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text;
create table if not exists supabase_migrations.checksums (version text not null primary key, sha256 text not null);
"""


@dataclass(frozen=True)
class Entry:
    """A recorded migration; `sha256` is None where the Supabase CLI applied it, `name` where an old one did."""

    version: str
    name: str | None
    sha256: str | None


@dataclass(frozen=True)
class Plan:
    """What a database lacks of our files, oldest first, and what it has had that is not among them."""

    pending: list[Migration]
    applied: list[Migration]
    others: list[Entry]


async def prepare(connection: Connection) -> None:
    """Makes the record where it is missing; a role that may not create anything can still use one that is there."""
    found = await connection.fetchrow(_EXISTS)
    if found is None or not (found["recorded"] and found["summed"] and found["whole"]):
        await connection.execute(f"set local lock_timeout = '4s'; {_CREATE}")


async def entries(connection: Connection) -> dict[str, Entry]:
    """What is recorded, by version; changes nothing, and finds nothing where there is no record yet."""
    found = await connection.fetchrow(_EXISTS)
    if found is None or not found["recorded"]:
        return {}
    name = "name" if found["whole"] else "null as name"
    sums = "left join supabase_migrations.checksums using (version)" if found["summed"] else ""
    sha256 = "sha256" if found["summed"] else "null as sha256"
    rows = await connection.fetch(
        f"select version, {name}, {sha256} from supabase_migrations.schema_migrations {sums}"  # noqa: S608  # our words
    )
    return {row["version"]: Entry(row["version"], row["name"] or None, row["sha256"]) for row in rows}


def plan(
    files: Sequence[Migration], recorded: Mapping[str, Entry], *, include_all: bool = False, ahead: bool = False
) -> Plan:
    """What is to be applied. Raises MigrationError where files and record contradict one another.

    `include_all` applies what is older than the newest of ours that has run; `ahead` accepts a database that a later
    release has migrated.
    """
    versions = {migration.version for migration in files}
    for migration in files:
        _check(migration, recorded.get(migration.version))
    others = [entry for version, entry in sorted(recorded.items()) if version not in versions]
    missing = [entry for entry in others if entry.sha256 is not None]
    if missing and not ahead:
        raise MigrationError(
            f"{_named(missing[-1])} was applied here and its file is missing ({len(missing)} of them): these files are"
            " of an earlier release than the database, or a file was removed. Put it back; or, to go on with the"
            " earlier release, --allow-ahead."
        )
    pending = [migration for migration in files if migration.version not in recorded]
    applied = [migration for migration in files if migration.version in recorded]
    newest = applied[-1].version if applied else ""
    if pending and pending[0].version < newest and not include_all:
        raise MigrationError(
            f"{pending[0].path} is older than {newest}, which is applied already: give it a later version, or"
            " --include-all if the order does not matter."
        )
    return Plan(pending, applied, others)


def _check(migration: Migration, entry: Entry | None) -> None:
    if entry is None:
        return
    if entry.sha256 not in {None, migration.sha256}:
        raise MigrationError(f"{migration.path} was edited after it was applied: put it back and add a new migration.")
    if entry.name not in {None, migration.name}:
        # Another repository of the same site had the same second; ours would silently never run.
        raise MigrationError(
            f"{migration.path}: version {migration.version} is recorded as {entry.name!r}: give this one another."
        )


def _named(entry: Entry) -> str:
    return f"{entry.version}_{entry.name}" if entry.name else entry.version


async def record(connection: Connection, migration: Migration, parts: Sequence[Statement]) -> None:
    """Writes that a migration has run, in the transaction that it has run in."""
    await connection.execute(
        "insert into supabase_migrations.schema_migrations (version, name, statements) values ($1, $2, $3)",
        migration.version,
        migration.name,
        [statement.text for statement in parts],
    )
    await connection.execute(
        "insert into supabase_migrations.checksums (version, sha256) values ($1, $2)",
        migration.version,
        migration.sha256,
    )
