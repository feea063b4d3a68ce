"""`python -m tests.chaos [case ...]`: kills, freezes, cancels and outages on the real stack, with production's timings.

CASE=a,b (or arguments) picks cases, SEED repeats the random moments of a run, KEEP=1 keeps the logs. Ends with a table
and the line "N passed, N failed"; exit status 0 only where nothing failed.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos import cases as _registered
from tests.chaos.registry import CASES, Case
from tests.chaos.runner import run_all
from tests.chaos.table import Table, say

_INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    wanted = [name for word in (*arguments, os.environ.get("CASE", "")) for name in word.split(",") if name]
    chosen = _chosen(wanted)
    if chosen is None:
        return 2
    seed = int(os.environ.get("SEED") or 0) or random.randrange(1, 10**6)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    say(f"{len(chosen)} cases, SEED={seed}")
    began = time.monotonic()
    table: Table | None = None
    try:
        table = asyncio.run(_until_told_to_end(chosen, folder, seed))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted: everything is stopped")
        return _INTERRUPTED
    finally:
        _put_away(folder, keep=os.environ.get("KEEP") == "1" or table is None or not table.all_passed)
    say(f"done after {(time.monotonic() - began) / 60:.1f} minutes, SEED={seed}")
    table.print()
    return 0 if table.all_passed else 1


def _chosen(wanted: Sequence[str]) -> list[Case] | None:
    known = {case.name: case for case in CASES}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        print(f"There is no case {', '.join(unknown)}. The cases are:", file=sys.stderr)
        for case in CASES:
            print(f"  {case.name:<22} {case.summary}", file=sys.stderr)
        return None
    return [case for case in CASES if not wanted or case.name in wanted]


async def _until_told_to_end(chosen: Sequence[Case], folder: Path, seed: int) -> Table:
    """SIGTERM ends it as Ctrl-C does: by cancelling, so that every stack is stopped."""
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await run_all(chosen, folder, seed)


def _put_away(folder: Path, *, keep: bool) -> None:
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for cluster in folder.glob("*/pgdata"):
        shutil.rmtree(cluster, ignore_errors=True)
    say(f"the logs are in {folder}")


if __name__ == "__main__":
    assert _registered
    sys.exit(main(sys.argv[1:]))
