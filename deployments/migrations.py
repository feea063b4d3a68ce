"""The files of supabase/migrations: their names, their statements, and what is wrong with them before any is run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MIGRATIONS = Path(__file__).resolve().parent.parent / "supabase" / "migrations"

_FILE_NAME = re.compile(r"(?P<version>\d{14})_(?P<name>[a-z0-9_]+)\.sql")
# What separates statements is a semicolon outside of these.
_QUOTED = re.compile(
    r"""--[^\n]*|/\*.*?\*/|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|(?P<tag>\$\w*\$).*?(?P=tag)"""
    r"""|\bbegin\s+atomic\b.*?\bend\s*(?=;)|;""",
    re.DOTALL | re.IGNORECASE,
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_TRANSACTION_WORDS = re.compile(r"(begin|commit|rollback|abort|start\s+transaction)\b", re.IGNORECASE)


class MigrationError(Exception):
    """What keeps a database from being migrated, in one sentence that says what to do; never with a password in it."""


@dataclass(frozen=True)
class Migration:
    path: Path
    version: str
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True)
class Statement:
    """One statement without its semicolon, and the line it begins at (comments before it are its own)."""

    text: str
    line: int


def read_migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """All files of the folder, oldest first. Raises MigrationError for a name or a version that cannot be."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path}: a migration is named <14 digits>_<verb>_<thing>.sql.")
        found.append(Migration(path, match["version"], match["name"], path.read_text(encoding="utf-8")))
    if not found:
        # An image without its migrations would otherwise call every database up to date.
        raise MigrationError(f"{folder}: holds no migration.")
    versions = [migration.version for migration in found]
    if twice := {version for version in versions if versions.count(version) > 1}:
        raise MigrationError(f"{folder}: two migrations have the version {min(twice)}.")
    return found


def checked_statements(migration: Migration) -> list[Statement]:
    """Its statements. Raises MigrationError where one would end the transaction that the whole file is."""
    parts = list(statements(migration.sql))
    for statement in parts:
        if word := _TRANSACTION_WORDS.match(_COMMENT.sub("", statement.text).strip()):
            raise MigrationError(
                f"{migration.path}:{statement.line}: `{word[0]}` is not allowed, each file is one transaction already."
            )
    return parts


def statements(sql: str) -> Iterator[Statement]:
    """The statements of a text, one after the other."""
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


def failing_line(statement: Statement, position: str | None) -> int:
    """The line of the character that the server names, counted from 1; else the one the first word is on."""
    before = statement.text[: int(position) - 1] if position else _comments_before(statement.text)
    return statement.line + before.count("\n")


def _comments_before(text: str) -> str:
    match = re.match(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*", text, re.DOTALL)
    return match[0] if match else ""
