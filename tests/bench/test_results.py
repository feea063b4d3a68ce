from __future__ import annotations

from pathlib import Path

import pytest

from bench.results import Figure, load, merged, save
from tests.bench.made import figure, reading, run

ORDER = ["system-ours", "api", "history-100k"]


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    runs = {
        "system-ours": run("system-ours", reading("start", 7, "ours", "s"), Figure("", None, failure="no")),
        "api": run("api", figure("trigger", 3, 2, "<=2"), figure("get", 3, 2)),
    }
    save(tmp_path / "docs" / "benchmarks.jsonl", runs)
    assert load(tmp_path / "docs" / "benchmarks.jsonl") == runs


def test_before_anything_was_measured_nothing_is_known(tmp_path: Path) -> None:
    assert load(tmp_path / "benchmarks.jsonl") == {}


def test_a_run_of_one_part_replaces_all_of_its_figures_and_no_others() -> None:
    known = {part: run(part, figure("old", 1, 1), figure("older", 1, 1)) for part in ORDER}
    new = run("api", figure("new", 2, 1), at="2026-11-28T09:00:00+00:00")
    together = merged(known, [new], ORDER)
    assert together == {**known, "api": new}
    assert list(together) == ORDER


def test_parts_stand_in_their_order_whenever_they_were_measured() -> None:
    together = merged({"history-100k": run("history-100k")}, [run("system-ours")], ORDER)
    assert list(together) == ["system-ours", "history-100k"]


def test_a_part_that_nothing_measures_any_longer_is_forgotten() -> None:
    assert merged({"gone": run("gone")}, [], ORDER) == {}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('{"part": "api"', "line 1"),  # cut off
        ('{"part": "api", "name": "trigger", "value": {"middle": 1}}', "line 1"),
        ('{"part": "api", "name": "trigger"}', "api without a run"),
    ],
)
def test_a_damaged_file_is_told_and_where(tmp_path: Path, lines: str, words: str) -> None:
    file = tmp_path / "benchmarks.jsonl"
    file.write_text(lines)
    with pytest.raises(SystemExit, match=words):
        load(file)
