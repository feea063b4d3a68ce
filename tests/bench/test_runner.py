from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.__main__ import measure, report
from bench.parts import Part
from bench.results import load
from bench.runner import Unmeasured, run

PART = Part("api", "A trial", "tests.bench.trial", tiny="met")


def test_a_part_is_told_with_when_where_and_how_it_was_measured(capfd: pytest.CaptureFixture[str]) -> None:
    found = run(PART, "met")
    assert [(figure.name, figure.system) for figure in found.figures] == [("start", ""), ("trigger", "")]
    assert (found.part, found.arguments) == ("api", "met")
    assert found.machine.keys() >= {"cores", "memory", "Python", "PostgreSQL", "Prefect"}
    assert 0 <= found.load[0] <= found.load[1]
    assert "a line that is no figure" in capfd.readouterr().err


def test_a_missed_goal_is_measured_nevertheless() -> None:
    assert [figure.is_missed for figure in run(PART, "missed").figures] == [False, True]


def test_a_part_that_breaks_is_not_measured() -> None:
    with pytest.raises(Unmeasured, match=r"tests\.bench\.trial broken ended with 1 after 1 figures"):
        run(PART, "broken")


def test_figures_of_a_whole_system_carry_its_title() -> None:
    found = run(replace(PART, system="ours"), "met")
    assert {figure.system for figure in found.figures} == {"A trial"}


def test_a_part_that_breaks_keeps_its_older_figures(tmp_path: Path) -> None:
    assert measure([(PART, "met")], tmp_path) == []
    before = load(tmp_path / "benchmarks.jsonl")
    assert before["api"].figures
    (failed,) = measure([(PART, "broken")], tmp_path)
    assert "its older figures are kept" in failed
    assert load(tmp_path / "benchmarks.jsonl") == before


def test_each_part_is_told_once_when_it_is_measured(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    measure([(PART, "met"), (PART, "broken")], tmp_path)
    told = [line for line in capfd.readouterr().err.splitlines() if "measured" in line]
    assert [re.sub(r"\d+ s", "n s", line) for line in told] == [
        "1 of 2: A trial: measured (n s)",
        "2 of 2: A trial: not measured (n s)",
        "1 of 2 measured (n s)",
    ]


def test_the_command_fails_where_a_goal_is_missed_without_a_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    missed, met = run(PART, "missed"), run(PART, "met")
    assert report({"api": met}, []) == 0
    assert report({"api": met}, ["api: gone"]) == 1
    capsys.readouterr()
    assert report({"api": missed}, []) == 1
    assert "Missed (part api): trigger. No reason stands in bench/reasons.toml." in capsys.readouterr().out
