"""A connection to the site's Postgres, waited for; errors that never repeat the address, which holds a password."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from socket import gaierror
from ssl import SSLError
from typing import TypeAlias

import asyncpg

from deployments.migrations import MigrationError
from flows.core.redaction import redact

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_CONNECT_SECONDS = 10.0
_PAUSE_SECONDS = 1.0
# A server that starts, is full, or goes down right now.
_TEMPORARY = (
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
)


@asynccontextmanager
async def connect(
    database_url: str, wait_seconds: float = 0, say: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Connection]:
    """A connection; one try at least, and more for `wait_seconds` while nobody answers. Raises MigrationError."""
    connection = await _connected(database_url, time.monotonic() + wait_seconds, say)
    try:
        yield connection
    finally:
        await connection.close(timeout=_CONNECT_SECONDS)


async def _connected(database_url: str, deadline: float, say: Callable[[str], None]) -> Connection:
    told = False
    while True:
        try:
            # No prepared statement is kept: a pooler may hand the next transaction to another connection.
            return await asyncpg.connect(database_url, timeout=_CONNECT_SECONDS, statement_cache_size=0)
        except (OSError, *_TEMPORARY) as error:
            if isinstance(error, SSLError):
                raise MigrationError(f"The database's TLS cannot be used: {error.reason}.") from None
            reason = _reason(error)
        except asyncpg.PostgresError as error:
            # Of these none goes away by itself: a wrong password, a database that does not exist.
            raise MigrationError(
                f"The database refuses the connection: {redact(str(error))} (SQLSTATE {error.sqlstate})."
                " See to the user, the password and the database's name in DATABASE_URL."
            ) from None
        except (ValueError, asyncpg.InterfaceError):
            # What is wrong with it would be told with a part of it.
            raise MigrationError(
                "DATABASE_URL is not a connection string like postgresql://user:password@host:5432/database; in a"
                " password / @ : # ? and % are written %2F %40 %3A %23 %3F %25."
            ) from None
        if time.monotonic() >= deadline:
            raise MigrationError(
                f"The database does not answer: {reason}. Is it running, and are DATABASE_URL's host and port right?"
            )
        if not told:
            say(f"the database does not answer ({reason}): waiting for it")
            told = True
        await asyncio.sleep(_PAUSE_SECONDS)


def _reason(error: Exception) -> str:
    """Why, in words; the error's own hold what was taken for the host and the port."""
    if isinstance(error, asyncpg.PostgresError):
        return f"{redact(str(error))} (SQLSTATE {error.sqlstate})"
    if isinstance(error, TimeoutError):
        return f"no answer within {_CONNECT_SECONDS:g} s"
    if isinstance(error, gaierror):
        return "its host's name is not known"
    return "connection refused" if isinstance(error, ConnectionRefusedError) else type(error).__name__
