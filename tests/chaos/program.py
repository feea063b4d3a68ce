"""How a program of chaos begins and ends: its seed, its folder of logs, its table, and Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tests.chaos.table import Table, say

_INTERRUPTED = 130

Play = Callable[[Path, int], Awaitable[Table]]
"""Plays everything in a folder with a seed for its random moments, and returns what came of it."""


def chosen(known: Mapping[str, str], arguments: Iterable[str]) -> set[str] | None:
    """The cases to play: those that the arguments and CASE name, else all; None where one is unknown, which is said.

    `known` has each case's name and what it is about.
    """
    wanted = {name for word in (*arguments, os.environ.get("CASE", "")) for name in word.split(",") if name}
    if unknown := sorted(wanted - known.keys()):
        print(f"There is no case {', '.join(unknown)}. The cases are:", file=sys.stderr)
        for name, summary in known.items():
            print(f"  {name:<22} {summary}", file=sys.stderr)
        return None
    return wanted or set(known)


def play(names: Sequence[str], run: Play) -> int:
    """The exit status: 0 only where nothing failed. SEED repeats the random moments of a run, KEEP=1 keeps the logs."""
    seed = int(os.environ.get("SEED") or 0) or random.randrange(1, 10**6)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    say(f"{len(names)} cases, SEED={seed}")
    began = time.monotonic()
    table: Table | None = None
    try:
        table = asyncio.run(_until_told_to_end(run, folder, seed))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted: everything is stopped")
        return _INTERRUPTED
    finally:
        _put_away(folder, keep=os.environ.get("KEEP") == "1" or table is None or not table.all_passed)
    say(f"done after {(time.monotonic() - began) / 60:.1f} minutes, SEED={seed}")
    table.print()
    return 0 if table.all_passed else 1


async def _until_told_to_end(run: Play, folder: Path, seed: int) -> Table:
    """SIGTERM ends it as Ctrl-C does: by cancelling, so that every stack is stopped."""
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await run(folder, seed)


def _put_away(folder: Path, *, keep: bool) -> None:
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for cluster in folder.glob("*/pgdata"):
        shutil.rmtree(cluster, ignore_errors=True)
    say(f"the logs are in {folder}")
