from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from bench.__main__ import render
from bench.page import REASONS, missed, number, page, read_reasons, reason_of, spread
from bench.parts import PARTS
from bench.plots import draw
from bench.results import Figure, Run, merged, save
from bench.table import table
from tests.bench import made

RUNS: dict[str, Run] = {
    "system-ours": made.run(
        "system-ours",
        made.reading("trigger, alone", 12.5, "This scheduler"),
        made.reading("trigger to first line, warm", 300, "This scheduler"),
        made.reading("50 newest of 100000 runs", 6, "This scheduler"),
    ),
    "system-airflow": made.run(
        "system-airflow",
        made.reading("trigger, alone", 10, "Airflow 3.3.2"),
        made.reading("trigger to first line, warm", 1000, "Airflow 3.3.2"),
    ),
    "system-celery": made.run("system-celery", Figure("", None, failure="redis-server does not start here")),
    "api": made.run("api", made.figure("trigger alone, bare insert", 3, 2, "<=2"), made.figure("get | x", 9, 2, "<=2")),
}


def test_a_figure_stands_beside_its_limit() -> None:
    assert "| trigger alone, bare insert | 3.00 (2.70 to 3.60) ms | 2.00 ms | 1.50 | ≤ 2 | met |" in page(RUNS, {}, [])


def test_a_missed_figure_is_marked_with_its_reason() -> None:
    written = page(RUNS, {"api": {"get": "It parses twice."}}, [])
    assert "| **missed** |" in written
    assert "- **Missed: get | x.** It parses twice." in written


def test_a_missed_figure_without_a_reason_says_so() -> None:
    assert "- **Missed: get | x.** no reason has been written down yet." in page(RUNS, {}, [])


def test_a_bar_in_a_name_makes_no_column() -> None:
    assert "| get \\| x |" in page(RUNS, {}, [])


def test_systems_stand_beside_each_other_each_under_its_version() -> None:
    lines = page(RUNS, {}, []).splitlines()
    assert "|  | **This scheduler** | Airflow 3.3.2 | Celery and Redis |" in lines
    assert "| trigger, alone | 12.5 ms | 10.0 ms | - |" in lines


def test_a_system_that_could_not_be_measured_says_why_instead_of_figures() -> None:
    assert "Celery and Redis could not be measured: redis-server does not start here" in page(RUNS, {}, [])


def test_the_page_says_where_when_and_under_what_load_it_was_measured() -> None:
    written = page(RUNS, {}, [])
    assert "Measured on: processor Example 1, cores 2, Python 3.11.7." in written
    assert "| api | 2026-11-27 09:00 | 12 | 0.1 to 1.9 | 0123456789 | `calls=300` |" in written


def test_parts_that_were_measured_on_different_machines_are_told_apart() -> None:
    other = Run(**{**vars(RUNS["api"]), "machine": {"cores": "64"}})
    written = page({**RUNS, "api": other}, {}, [])
    assert "Measured on: cores 64 (api)." in written


def test_ours_is_held_against_the_systems_beside_it() -> None:
    words = {figure.name: reason for part, figure, reason in missed(RUNS, {"others": {"trigger": "Busy."}})}
    assert words == {"get | x": "", "trigger, alone, against Airflow 3, LocalExecutor": "Busy."}


def test_each_kind_of_trigger_is_held_against_its_own() -> None:
    ours, theirs = (
        made.run(part, made.reading("trigger, alone", alone, part), made.reading("trigger, 16 at once", together, part))
        for part, alone, together in (("system-ours", 5, 90), ("system-prefect", 50, 80))
    )
    (found,) = missed({"system-ours": ours, "system-prefect": theirs}, {})
    assert found[1].name == "trigger, 16 at once, against Prefect alone, process worker tuned"


def test_history_at_ten_million_is_held_against_theirs_at_a_hundred_thousand() -> None:
    runs = {
        "history-10m": made.run("history-10m", made.figure("list, p50 of 10000000 jobs", 70, 6)),
        "system-dagster": made.run("system-dagster", made.reading("50 newest of 100000 runs", 60, "Dagster 1.13")),
    }
    (found,) = missed(runs, {})
    assert found[1].name == "list, p50 of 10000000 jobs (ours), 50 newest of 100000 runs (theirs), against Dagster"


def test_the_reason_is_the_one_that_fits_best() -> None:
    figure = made.figure("list by user, p95", 2, 1)
    assert reason_of(figure, {"list": "All.", "list by user": "User.", "get": "Get."}) == "User."
    assert reason_of(figure, {"get": "Get."}) == ""


@pytest.mark.parametrize(
    ("value", "words"), [(0.1234, "0.123"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")]
)
def test_a_number_has_the_digits_that_say_something(value: float, words: str) -> None:
    assert number(value) == words


def test_a_single_measurement_has_no_spread() -> None:
    assert spread(made.spread(4)) == "4.00"
    assert spread(made.spread(4, 3, 5)) == "4.00 (3.00 to 5.00)"


def test_reasons_are_written_for_parts_that_there_are() -> None:
    reasons = tomllib.loads(REASONS.read_text())
    assert reasons == read_reasons()
    assert set(reasons) <= {part.name for part in PARTS} | {"others"}


def test_the_terminal_is_told_the_same() -> None:
    lines = table(RUNS).splitlines()
    (row,) = [line for line in lines if line.startswith("  get | x")]
    assert row.split() == ["get", "|", "x", "9.00", "(8.10", "to", "10.8)", "ms", "2.00", "4.50", "<=2", "MISSED"]
    assert "  not measured: redis-server does not start here" in lines


def test_plots_are_drawn_of_what_was_measured_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "memory.svg").write_text("of an earlier run")
    drawn = {plot.file for plot in draw(RUNS, tmp_path)}
    assert drawn == {"trigger.svg", "first-line.svg", "history.svg"} == {file.name for file in tmp_path.iterdir()}
    svg = (tmp_path / "trigger.svg").read_text()
    assert "Airflow 3.3.2" in svg
    assert "<script" not in svg
    assert "<!--" not in svg  # the day it was drawn


def test_the_same_figures_make_the_same_files(tmp_path: Path) -> None:
    for name in ("first", "second"):
        save(tmp_path / name / "benchmarks.jsonl", merged({}, RUNS.values(), RUNS))
        render(tmp_path / name)
    files = [path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file()]
    assert Path("img/bench/trigger.svg") in files
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes(), file
    assert "](img/bench/trigger.svg)" in (tmp_path / "first" / "benchmarks.md").read_text()


def test_before_anything_was_measured_there_is_a_page_nevertheless(tmp_path: Path) -> None:
    render(tmp_path)
    assert (tmp_path / "benchmarks.md").read_text().startswith("# Benchmarks")
    assert table({})


def test_ours_is_drawn_beside_its_limit(tmp_path: Path) -> None:
    figures = (
        made.figure("digest of 200 users against bare httpx, 200 at once: whole job", 5, 1),
        made.figure("digest of 200 users against bare httpx, 10 at once: whole job", 5, 4321),
    )
    (plot,) = draw({"digest": made.run("digest", *figures)}, tmp_path)
    assert "4,321" in (tmp_path / plot.file).read_text()
    assert f"](img/bench/{plot.file})" in page({"digest": made.run("digest", *figures)}, {}, [plot])
