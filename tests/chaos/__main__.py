"""`python -m tests.chaos [case ...]`: kills, freezes, cancels and outages on the real stack, with production's timings.

CASE=a,b (or arguments) picks cases, SEED repeats the random moments of a run, KEEP=1 keeps the logs. Ends with a table
and the line "N passed, N failed"; exit status 0 only where nothing failed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.chaos import cases as _registered
from tests.chaos.program import chosen, play
from tests.chaos.registry import CASES
from tests.chaos.runner import run_all


def main(arguments: Sequence[str]) -> int:
    wanted = chosen({case.name: case.summary for case in CASES}, arguments)
    if wanted is None:
        return 2
    to_play = [case for case in CASES if case.name in wanted]
    return play([case.name for case in to_play], lambda folder, seed: run_all(to_play, folder, seed))


if __name__ == "__main__":
    assert _registered
    sys.exit(main(sys.argv[1:]))
