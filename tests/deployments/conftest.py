"""An empty database on the sandbox's server, and a folder of migrations to apply to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

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


class Folder:
    """Migrations of a test; the first is `a`, a minute later comes `b`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, sql: str) -> str:
        """Puts a file there; `b` alone stands for its whole name, which is the answer."""
        whole = f"2026010100{ord(name) - ord('a'):02}00_create_{name}.sql" if len(name) == 1 else name
        (self.path / whole).write_text(sql)
        return whole


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder for migrations."""
    return Folder(tmp_path)
