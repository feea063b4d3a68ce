"""What a stream can show: a line that is written over only where somebody watches, colour only where it is asked for.

Python's standard library is all this needs: the first steps of `make` run before anything is installed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

_OFF = ("", "0", "false", "no")
# Terminals that know no way back in a line: an editor's shell, a console of which nothing is known.
_DUMB = ("dumb", "unknown")


def is_watched(stream: TextIO, environment: Mapping[str, str] | None = None) -> bool:
    """Whether a line may be written over: a terminal that can do so, and not CI, where a log keeps every version."""
    known = os.environ if environment is None else environment
    if known.get("CI", "").lower() not in _OFF or known.get("TERM", "").lower() in _DUMB:
        return False
    return stream.isatty()


def has_colour(stream: TextIO, environment: Mapping[str, str] | None = None) -> bool:
    """Whether to colour: NO_COLOR says no, FORCE_COLOR yes wherever the output goes, else a watched terminal has it."""
    known = os.environ if environment is None else environment
    if known.get("NO_COLOR"):
        return False
    return known.get("FORCE_COLOR", "").lower() not in _OFF or is_watched(stream, known)
