"""Brings a database's tables up to this release: `python -m deployments.migrate [--status | --dry-run]`.

DATABASE_URL says which database; it is never printed, because there is a password in it. Each file of
supabase/migrations runs once, in order, in a transaction of its own. Done twice, the second does nothing; two at once,
one waits for the other. A pooler between us and the database is no trouble, also one that hands out its connections by
transaction: nothing here outlives a transaction.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from deployments import ledger
from deployments.database import Connection, connect
from deployments.ledger import Plan
from deployments.migrations import (
    MIGRATIONS,
    Migration,
    MigrationError,
    Statement,
    checked_statements,
    failing_line,
    read_migrations,
)
from deployments.terminal import QUIET, Terminal, complain, ended
from flows.core.redaction import redact

Say = Callable[[str], None]

_LOCK = 7_354_001  # any number, the same for everybody who migrates
_LOCK_PATIENCE_SECONDS = 600.0
# A table in use: the file's `lock_timeout` gives it back to its users, and we ask again.
_BUSY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
_PAUSES_SECONDS = (2.0, 5.0, 15.0, 30.0)


async def apply_migrations(
    database_url: str,
    folder: Path = MIGRATIONS,
    *,
    include_all: bool = False,
    ahead: bool = False,
    wait_seconds: float = 0,
    say: Say = lambda _: None,
) -> list[str]:
    """The names of the files applied now, oldest first. Raises MigrationError; what was applied before stays."""
    files = read_migrations(folder)
    parts = {migration.version: checked_statements(migration) for migration in files}
    with _in_words():
        async with connect(database_url, wait_seconds, say) as guard, _alone(guard, say), connect(database_url) as work:
            async with work.transaction():
                await ledger.prepare(work)
                recorded = await ledger.entries(work)
            wanted = ledger.plan(files, recorded, include_all=include_all, ahead=ahead)
            for migration in wanted.pending:
                began = time.monotonic()
                await _apply_patiently(work, migration, parts[migration.version], say)
                say(f"applied {migration.path.name} ({time.monotonic() - began:.1f} s)")
    return [migration.path.name for migration in wanted.pending]


async def read_plan(
    database_url: str,
    folder: Path = MIGRATIONS,
    *,
    include_all: bool = False,
    ahead: bool = False,
    wait_seconds: float = 0,
    say: Say = lambda _: None,
) -> Plan:
    """What `apply_migrations` would do now; changes nothing. Raises MigrationError where it would."""
    files = read_migrations(folder)
    with _in_words():
        async with connect(database_url, wait_seconds, say) as connection, connection.transaction(readonly=True):
            recorded = await ledger.entries(connection)
    return ledger.plan(files, recorded, include_all=include_all, ahead=ahead)


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except asyncpg.PostgresError as error:
        raise MigrationError(f"The record of migrations cannot be used: {_said(error)}).") from error
    except (OSError, asyncpg.InterfaceError) as error:
        raise MigrationError("The connection was lost. Run it again: what is recorded is applied.") from error


@asynccontextmanager
async def _alone(guard: Connection, say: Say) -> AsyncIterator[None]:
    """Holds the lock of whoever migrates, in a transaction that stays open: it ends with us, however we end."""
    deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
    async with guard.transaction():
        await guard.execute("set local idle_in_transaction_session_timeout = 0")
        told = False
        # Asked again and again rather than waited for: a role's statement_timeout would end the wait.
        while not await guard.fetchval("select pg_try_advisory_xact_lock($1)", _LOCK):
            if not told:
                say("another migration is under way: waiting for it")
                told = True
            if time.monotonic() > deadline:
                raise MigrationError(
                    f"Another migration has been under way for {_LOCK_PATIENCE_SECONDS:g} s: see pg_locks,"
                    f" advisory {_LOCK}."
                )
            await asyncio.sleep(0.2)
        yield


async def _apply_patiently(connection: Connection, migration: Migration, parts: Sequence[Statement], say: Say) -> None:
    for pause in (*_PAUSES_SECONDS, None):
        try:
            await _apply(connection, migration, parts)
        except MigrationError as error:
            if pause is None or not isinstance(error.__cause__, _BUSY):
                raise
            say(f"{error} Nothing of it was applied; again in {pause:g} s.")
            await asyncio.sleep(pause)
        else:
            return


async def _apply(connection: Connection, migration: Migration, parts: Sequence[Statement]) -> None:
    try:
        async with connection.transaction():
            # Settings of a file (lock_timeout, search_path) begin and end with it.
            await connection.execute("reset all")
            for number, statement in enumerate(parts, 1):
                await _run(connection, migration, statement, f"statement {number} of {len(parts)}")
            await connection.execute("reset all")
            await ledger.record(connection, migration, parts)
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{migration.path}: {_said(error)}, when it was recorded or committed).") from error
    except (OSError, asyncpg.InterfaceError) as error:
        raise MigrationError(
            f"{migration.path}: the connection was lost. Run it again: what is recorded is applied."
        ) from error


async def _run(connection: Connection, migration: Migration, statement: Statement, where: str) -> None:
    try:
        await connection.execute(statement.text)
    except asyncpg.PostgresConnectionError as error:
        raise MigrationError(
            f"{migration.path}:{statement.line}: the connection was lost in {where}; nothing of this file was applied."
        ) from error
    except asyncpg.PostgresError as error:
        line = failing_line(statement, getattr(error, "position", None))
        raise MigrationError(f"{migration.path}:{line}: {_said(error)}, {where}).") from error


def _said(error: asyncpg.PostgresError) -> str:
    # Never the detail: it quotes rows.
    return f"{redact(getattr(error, 'message', None) or type(error).__name__)} (SQLSTATE {error.sqlstate}"


def _status(plan: Plan) -> None:
    for migration in plan.applied:
        print(f"applied  {migration.path.name}")
    for migration in plan.pending:
        print(f"pending  {migration.path.name}")
    print(f"{len(plan.applied)} applied, {len(plan.pending)} pending{_others(plan)}")


def _dry_run(plan: Plan) -> None:
    for migration in plan.pending:
        print(f"would apply {migration.path.name}")
    print(f"{len(plan.pending)} to apply, {len(plan.applied)} applied already{_others(plan)}")


def _others(plan: Plan) -> str:
    return f", {len(plan.others)} recorded that have no file here" if plan.others else ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m deployments.migrate",
        description="Applies supabase/migrations to the database that the environment's DATABASE_URL names.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--status", action="store_true", help="list what is applied and what is not; change nothing")
    what.add_argument("--dry-run", action="store_true", help="say what would be applied; change nothing")
    parser.add_argument(
        "--include-all", action="store_true", help="apply files that are older than the newest applied one, too"
    )
    parser.add_argument(
        "--allow-ahead", action="store_true", help="go on where a later release has migrated the database"
    )
    parser.add_argument(
        "--wait", type=float, default=60, metavar="SECONDS", help="how long the database may take to answer (60)"
    )
    return parser.parse_args()


async def _main(arguments: argparse.Namespace, database_url: str, terminal: Terminal) -> None:
    say = terminal.line
    terminal.progress("asking the database what is applied")
    if arguments.status or arguments.dry_run:
        # A status tells how things are, also where they are as --include-all and --allow-ahead would have them.
        plan = await read_plan(
            database_url,
            include_all=arguments.include_all or arguments.status,
            ahead=arguments.allow_ahead or arguments.status,
            wait_seconds=arguments.wait,
            say=say,
        )
        terminal.settle()
        _status(plan) if arguments.status else _dry_run(plan)
        return
    began = time.monotonic()
    terminal.progress("migrating the database")
    applied = await apply_migrations(
        database_url,
        include_all=arguments.include_all,
        ahead=arguments.allow_ahead,
        wait_seconds=arguments.wait,
        say=say,
    )
    terminal.settle()
    said = f"{len(applied)} migrations applied" if applied else "nothing to apply: the database is up to date"
    terminal.line(said, (f" ({time.monotonic() - began:.1f} s)", QUIET))


def main() -> int:
    """0 when the database is as this release needs it, 1 with a sentence on stderr otherwise."""
    arguments = _arguments()
    database_url = os.environ.get("DATABASE_URL", "")
    if not database_url:
        complain(
            "DATABASE_URL is not set: it is the database's address, postgresql://user:password@host:5432/database."
        )
        return 1
    terminal = Terminal()
    try:
        asyncio.run(_main(arguments, database_url, terminal))
    except MigrationError as error:
        complain(str(error))
        return 1
    finally:
        terminal.settle()
    return 0


if __name__ == "__main__":
    sys.exit(ended(main))
