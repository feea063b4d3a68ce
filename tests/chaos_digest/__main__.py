"""`python -m tests.chaos_digest [USERS=20000] [case ...]`: a week's digest through 20 kills, and every mail counted.

One digest of so many users is sent by jobs whose worker and flow process are SIGKILLed together, 20 times, at random
moments of the sending, each time another of three lanes, while the mail service drops 2 % of its answers after it has
accepted the mail. Leases and recoveries have production's timings.

A job that dies is tried again three times only, and 20 kills are more. So the digest of the week is triggered twelve
times before the first kill: in each lane (a queue, a worker that serves it, a gate of its own) four jobs wait for one
another, and the three that run send out of the same ledger at once. After that nobody triggers anything: what is left
is done by jobs that waited, and by the scheduler's own recoveries. A worker that was killed is started again.

Three cases side by side, each on a stack of its own; USERS sets their size; CASE=a,b (or arguments) picks cases, SEED
repeats the random moments, KEEP=1 keeps the logs. Ends with a table and the line "N passed, N failed"; exit status 0
only where nothing failed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.chaos.program import chosen, play
from tests.chaos_digest.cases import CASES, play_all


def main(arguments: Sequence[str]) -> int:
    users = 20_000
    names = []
    for argument in arguments:
        setting, is_setting, value = argument.partition("=")
        if is_setting and setting == "USERS" and value.isdecimal():
            users = int(value)
        else:
            names.append(argument)
    wanted = chosen({case.name: case.summary for case in CASES}, names)
    if wanted is None:
        return 2
    to_play = [case for case in CASES if case.name in wanted]
    return play([case.name for case in to_play], lambda folder, seed: play_all(to_play, folder, seed, users))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
