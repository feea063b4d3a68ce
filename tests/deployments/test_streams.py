"""Who gets a line that moves, and who gets colour."""

from __future__ import annotations

import io

import pytest

from deployments.streams import has_colour, is_watched


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


# The environment; whether a terminal has a live line there, has colour, and whether a pipe has colour.
@pytest.mark.parametrize(
    ("environment", "live", "colour", "piped"),
    [
        ({}, True, True, False),
        ({"TERM": "xterm-256color"}, True, True, False),
        ({"TERM": "dumb"}, False, False, False),
        ({"TERM": "unknown"}, False, False, False),
        ({"CI": "true"}, False, False, False),  # some give their jobs a terminal
        ({"CI": "false"}, True, True, False),
        ({"NO_COLOR": "1"}, True, False, False),
        ({"NO_COLOR": ""}, True, True, False),  # as https://no-color.org has it
        ({"FORCE_COLOR": "1"}, True, True, True),
        ({"FORCE_COLOR": "0"}, True, True, False),
        ({"FORCE_COLOR": "1", "CI": "true"}, False, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, False, True, True),
    ],
)
def test_the_environment_decides(environment: dict[str, str], live: bool, colour: bool, piped: bool) -> None:  # noqa: FBT001
    assert (is_watched(Tty(), environment), has_colour(Tty(), environment)) == (live, colour)
    assert (is_watched(io.StringIO(), environment), has_colour(io.StringIO(), environment)) == (False, piped)
