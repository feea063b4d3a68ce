"""What a command shows of its steps: at a terminal, through a pipe, and where a variable says otherwise."""

from __future__ import annotations

import re

import pytest

from tests.terminals import COLOUR, LIVE, piped, python, watched

# A step that takes long enough to be seen, one that fails, and an error.
_SCRIPT = """
import sys, time
from deployments.terminal import Terminal, complain, ended
def main():
    terminal = Terminal()
    with terminal.step("counting the pages") as step:
        time.sleep(0.5)
        terminal.line("  ", ("half", "green"), " of them")
        step.done = "12 pages are counted"
    try:
        with terminal.step("counting the dragons"):
            raise ValueError
    except ValueError:
        complain("There are none: look elsewhere.", by="count")
    return 1
sys.exit(ended(main))
"""
COUNTING = python("-c", _SCRIPT)
LASTING = [r"  half of them", r"12 pages are counted \(\d+\.\d s\)", r"count: There are none: look elsewhere\."]


def assert_lasting(lines: list[str]) -> None:
    assert len(lines) == len(LASTING), lines
    for line, expected in zip(lines, LASTING, strict=True):
        assert re.fullmatch(expected, line), line


def test_a_terminal_shows_what_is_under_way_and_keeps_what_is_done() -> None:
    seen = watched(COUNTING)
    assert seen.status == 1
    assert re.search(r"[|/\\-] +0 s  counting the pages", seen.text)
    assert LIVE.search(seen.text)
    assert "\x1b[32mhalf\x1b[0m" in seen.text
    assert "\x1b[1;31mcount: \x1b[0m" in seen.text
    assert_lasting(seen.lines)
    # The cursor that was hidden meanwhile is there again.
    assert seen.text.rfind("\x1b[?25h") > seen.text.rfind("\x1b[?25l") >= 0


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}, {"NO_COLOR": "1"}, {"CI": "true"}])
def test_a_pipe_gets_a_plain_line_for_each_finished_step(environment: dict[str, str]) -> None:
    seen = piped(COUNTING, environment)
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", seen.text)
    assert "counting" not in seen.text
    assert_lasting(seen.lines)
    assert seen.errors == "count: There are none: look elsewhere.\n"


def test_no_color_takes_the_colour_and_leaves_the_live_line() -> None:
    seen = watched(COUNTING, {"NO_COLOR": "1"})
    assert not COLOUR.search(seen.text)
    assert LIVE.search(seen.text)
    assert_lasting(seen.lines)


def test_force_color_colours_a_pipe_and_moves_nothing_in_it() -> None:
    seen = piped(COUNTING, {"FORCE_COLOR": "1"})
    assert "\x1b[32mhalf\x1b[0m" in seen.text
    assert not LIVE.search(seen.text)
    assert_lasting(seen.lines)


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"CI": "1"}])
def test_a_terminal_that_cannot_and_one_of_ci_are_written_to_as_a_pipe(environment: dict[str, str]) -> None:
    seen = watched(COUNTING, environment)
    assert not COLOUR.search(seen.text)
    assert not LIVE.search(seen.text)
    assert_lasting(seen.lines)


def test_a_long_line_is_not_broken_and_a_long_live_line_is_cut() -> None:
    script = f"""
import time
from deployments.terminal import Terminal
with Terminal().step("{"waiting for it " * 10}") as step:
    time.sleep(0.3)
    step.done = "https://example.test/{"x" * 100}"
"""
    seen = watched(python("-c", script))
    assert seen.lines[0].startswith(f"https://example.test/{'x' * 100} (")
    assert len(seen.lines) == 1
    moving = [
        COLOUR.sub("", part) for part in re.split(r"\r|\x1b\[[0-9;?]*[A-Za-ln-z]", seen.text) if "waiting" in part
    ]
    assert moving
    assert {len(part.strip("\n")) <= 80 for part in moving} == {True}


def test_ctrl_c_ends_a_step_without_a_traceback() -> None:
    script = """
import sys, time
from deployments.terminal import Terminal, ended
def main():
    with Terminal().step("counting the stars"):
        time.sleep(30)
    return 0
sys.exit(ended(main))
"""
    seen = watched(python("-c", script), interrupt_at="counting")
    assert seen.status == 130
    assert "Traceback" not in seen.text
    assert seen.text.rfind("\x1b[?25h") > seen.text.rfind("\x1b[?25l")
