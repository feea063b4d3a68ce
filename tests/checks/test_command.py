"""What `python -m checks` shows while it checks, and what it says in the end."""

from __future__ import annotations

import re

from checks.__main__ import CHECKS
from tests.terminals import LIVE, piped, python, watched

_WELL = re.compile(rf"checks: {', '.join(CHECKS)} find no mistake \(\d+\.\d s\)")


def test_a_terminal_shows_which_check_is_at_work() -> None:
    seen = watched(python("-m", "checks"))
    assert seen.status == 0
    assert f"checking render (1 of {len(CHECKS)})" in seen.text
    assert LIVE.search(seen.text)
    assert _WELL.fullmatch(seen.lines[-1])


def test_a_pipe_gets_one_line() -> None:
    seen = piped(python("-m", "checks"))
    assert (seen.status, seen.errors) == (0, "")
    assert _WELL.fullmatch(seen.output.rstrip("\n"))


def test_a_word_is_refused() -> None:
    seen = piped(python("-m", "checks", "render"))
    assert (seen.status, seen.output) == (2, "")
    assert "unrecognized arguments: render" in seen.errors
