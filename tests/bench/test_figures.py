from __future__ import annotations

import pytest

from bench.figures import exit_status, failure, figure, is_met, quartiles, reading
from bench.results import Figure, Spread, figure_of


def test_what_a_benchmark_prints_is_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert figure("trigger", ours=[4.0, 2.0, 3.0], limit=2, unit="ms", goal="<=2", peak_mb=80.25)
    assert figure_of(capsys.readouterr().out) == Figure(
        "trigger", Spread(3, 2.5, 3.5, 3), unit="ms", limit=Spread(2, 2, 2), goal="<=2", peak_mb=80.2
    )


def test_what_is_read_of_another_system_has_no_limit(capsys: pytest.CaptureFixture[str]) -> None:
    reading("start", 7.5, unit="s", system="Other 1.0")
    failure("it does not install here", system="Another")
    first, second = capsys.readouterr().out.splitlines()
    assert figure_of(first) == Figure("start", Spread(7.5, 7.5, 7.5), unit="s", system="Other 1.0")
    assert figure_of(second) == Figure("", None, system="Another", failure="it does not install here")


@pytest.mark.parametrize("line", ["", "Measuring", "[1, 2]", '{"mails": 3}', "3"])
def test_other_lines_are_no_figures(line: str) -> None:
    assert figure_of(line) is None


@pytest.mark.parametrize(
    ("goal", "ratio", "met"),
    [
        ("<=2", 2.0, True),
        ("<=2", 2.01, False),
        (">=0.8", 0.8, True),
        (">=0.8", 0.79, False),
        ("", 1000.0, True),  # a figure that is only told
    ],
)
def test_a_goal_bounds_the_ratio(goal: str, ratio: float, met: bool) -> None:  # noqa: FBT001
    assert is_met(goal, ratio) is met


def test_a_missed_goal_is_told_from_a_benchmark_that_broke() -> None:
    assert exit_status(met=True) == 0
    assert exit_status(met=False) not in {0, 1, 2}  # Python ends with 1 after an error, argparse with 2


def test_quartiles_of_one_measurement_are_the_measurement() -> None:
    assert quartiles([3.0]) == (3.0, 3.0)
