"""What a migration's file may hold, and where its statements end."""

from __future__ import annotations

import pytest

from deployments.migrations import MigrationError, checked_statements, read_migrations, statements
from tests.deployments.conftest import Folder


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


def test_a_migration_that_commits_by_itself_is_refused(folder: Folder) -> None:
    folder.write("a", "create table a (id int);\n-- then\nCOMMIT;\n")
    with pytest.raises(MigrationError, match=r"create_a\.sql:2: `COMMIT` is not allowed"):
        checked_statements(read_migrations(folder.path)[0])


def test_a_name_without_a_version_is_refused(folder: Folder) -> None:
    folder.write("create_a.sql", "select 1")
    with pytest.raises(MigrationError, match=r"create_a\.sql: a migration is named <14 digits>"):
        read_migrations(folder.path)


def test_a_folder_without_migrations_is_refused(folder: Folder) -> None:
    with pytest.raises(MigrationError, match="holds no migration"):
        read_migrations(folder.path)


def test_our_own_files_can_be_read() -> None:
    migrations = read_migrations()
    assert [migration.version for migration in migrations] == sorted({migration.version for migration in migrations})
    assert all(checked_statements(migration) for migration in migrations)
