"""Applies supabase/migrations to a database, and records them where the Supabase CLI does.

`supabase db push` and this agree about what has been applied: same table, same versions, same order. On top of that a
checksum is kept, because an edited migration that has run already is a change that never arrives anywhere.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import asyncpg

from sandbox.errors import SandboxError
from sandbox.state import REPOSITORY

MIGRATIONS = REPOSITORY / "supabase" / "migrations"

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_FILE_NAME = re.compile(r"(?P<version>\d{14})_(?P<name>[a-z0-9_]+)\.sql")
_LOCK = 7_354_001  # any number, the same for everybody who migrates
_LEDGER = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
  version text not null primary key, statements text[], name text
);
create table if not exists supabase_migrations.checksums (version text not null primary key, sha256 text not null);
"""
# What separates statements is a semicolon outside of these.
_QUOTED = re.compile(
    r"""--[^\n]*|/\*.*?\*/|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|(?P<tag>\$\w*\$).*?(?P=tag)"""
    r"""|\bbegin\s+atomic\b.*?\bend\s*(?=;)|;""",
    re.DOTALL | re.IGNORECASE,
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_TRANSACTION_WORDS = re.compile(r"(begin|commit|rollback|abort|start\s+transaction)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Migration:
    path: Path
    version: str
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


async def apply_migrations(database_url: str, folder: Path = MIGRATIONS) -> list[str]:
    """The names of the files applied now, oldest first; each in a transaction of its own."""
    migrations = read_migrations(folder)
    connection = await asyncpg.connect(database_url)
    try:
        # A session lock: two starts at once apply nothing twice.
        await connection.execute("select pg_advisory_lock($1)", _LOCK)
        await connection.execute(_LEDGER)
        applied = await _applied(connection)
        pending = [migration for migration in migrations if migration.version not in applied]
        _check_history(migrations, pending, applied)
        for migration in pending:
            await _apply(connection, migration)
    finally:
        await connection.close()
    return [migration.path.name for migration in pending]


def read_migrations(folder: Path) -> list[Migration]:
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise SandboxError(f"{path}: a migration is named <14 digits>_<verb>_<thing>.sql.")
        found.append(Migration(path, match["version"], match["name"], path.read_text()))
    versions = [migration.version for migration in found]
    if twice := {version for version in versions if versions.count(version) > 1}:
        raise SandboxError(f"{folder}: two migrations have the version {min(twice)}.")
    return found


@dataclass(frozen=True)
class Statement:
    """One statement without its semicolon, and the line it begins at (comments before it are its own)."""

    text: str
    line: int


def statements(sql: str) -> Iterator[Statement]:
    start = 0
    for token in _QUOTED.finditer(sql):
        if token[0] == ";":
            yield _statement(sql, start, token.start())
            start = token.end()
    if _COMMENT.sub("", sql[start:]).strip():
        yield _statement(sql, start, len(sql))


def _statement(sql: str, start: int, end: int) -> Statement:
    text = sql[start:end]
    leading = len(text) - len(text.lstrip())
    return Statement(text.strip(), sql.count("\n", 0, start + leading) + 1)


async def _applied(connection: Connection) -> dict[str, str | None]:
    """Version to checksum; none where the Supabase CLI applied it."""
    rows = await connection.fetch(
        "select version, sha256 from supabase_migrations.schema_migrations"
        " left join supabase_migrations.checksums using (version)"
    )
    return {row["version"]: row["sha256"] for row in rows}


def _check_history(all_of_them: list[Migration], pending: list[Migration], applied: dict[str, str | None]) -> None:
    for migration in all_of_them:
        if applied.get(migration.version) not in {None, migration.sha256}:
            raise SandboxError(
                f"{migration.path} was edited after it was applied: put it back and add a new migration"
                " (or, if nobody else has it yet, `python -m sandbox reset`)."
            )
    newest = max(applied, default="")
    if pending and pending[0].version < newest:
        raise SandboxError(f"{pending[0].path} is older than {newest}, which is applied already: rename it.")


async def _apply(connection: Connection, migration: Migration) -> None:
    parts = list(statements(migration.sql))
    for statement in parts:
        if word := _TRANSACTION_WORDS.match(_COMMENT.sub("", statement.text).strip()):
            raise SandboxError(
                f"{migration.path}:{statement.line}: `{word[0]}` is not allowed, each file is one transaction already."
            )
    async with connection.transaction():
        for statement in parts:
            try:
                await connection.execute(statement.text)
            except asyncpg.PostgresError as error:
                raise SandboxError(f"{migration.path}:{_failing_line(statement, error)}: {error}") from error
        await _record(connection, migration, parts)
    # Settings of the file (lock_timeout, search_path) end with it.
    await connection.execute("reset all")


async def _record(connection: Connection, migration: Migration, parts: list[Statement]) -> None:
    await connection.execute(
        "insert into supabase_migrations.schema_migrations (version, statements, name) values ($1, $2, $3)",
        migration.version,
        [statement.text for statement in parts],
        migration.name,
    )
    await connection.execute(
        "insert into supabase_migrations.checksums (version, sha256) values ($1, $2)",
        migration.version,
        migration.sha256,
    )


def _failing_line(statement: Statement, error: asyncpg.PostgresError) -> int:
    """The line the server names by its character, counted from 1; else the one the statement's first word is on."""
    position = getattr(error, "position", None)
    before = statement.text[: int(position) - 1] if position else _comments_before(statement.text)
    return statement.line + before.count("\n")


def _comments_before(text: str) -> str:
    match = re.match(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*", text, re.DOTALL)
    return match[0] if match else ""
