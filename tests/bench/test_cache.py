from __future__ import annotations

from pathlib import Path

import pytest

from bench.cache import cache_folder
from bench.history import FILLED, kept_folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_cache_is_where_the_user_keeps_caches(tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache" / "stumbleable-bench"
    assert cache_folder().is_dir()


def test_a_filled_history_is_kept_for_the_next_time() -> None:
    folder = kept_folder(1_000_000)
    (folder / FILLED).touch()
    (folder / "pgdata").mkdir()
    assert kept_folder(1_000_000) == folder
    assert (folder / "pgdata").exists()


def test_a_history_that_was_not_filled_to_its_end_is_made_anew() -> None:
    (kept_folder(1_000_000) / "pgdata").mkdir()
    assert list(kept_folder(1_000_000).iterdir()) == []


def test_a_history_of_other_tables_is_forgotten_and_one_of_another_size_is_not() -> None:
    folder = kept_folder(1_000_000)
    old, other = folder.with_name("1000000-0123456789ab"), folder.with_name("10000000-0123456789ab")
    for each in (old, other):
        each.mkdir()
        (each / FILLED).touch()
    kept_folder(1_000_000)
    assert not old.exists()
    assert other.exists()
