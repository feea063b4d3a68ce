"""The worker as the parent of whatever its runs leave behind: reaps the dead, ends the living.

A process that moved out of its run's session, and whose run has ended, comes to the worker because the worker is a
child subreaper. It is known as a run's by the mark that the fork server and everything forked from it carry.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from uuid import uuid4

from worker.requests import MARK_VARIABLE

_SECONDS = 1.0
_SECONDS_AFTER_A_RUN = 0.2


class Strays:
    """Looks once a second, and twice right after a run has ended."""

    def __init__(self, known: Callable[[], Iterable[int] | None]) -> None:
        """`known` gives the children that others wait for, or None while a child may be one without being known."""
        self.mark = uuid4().hex
        self._known = known
        self._seen: set[int] = set()
        self._asked = asyncio.Event()

    def look_now(self) -> None:
        self._asked.set()

    async def sweep_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), _SECONDS)
            if self._asked.is_set():
                self._asked.clear()
                self.sweep()
                await asyncio.sleep(_SECONDS_AFTER_A_RUN)
            self.sweep()

    def sweep(self) -> None:
        """Ends and reaps what was unknown in the last sweep and still is: a new run may not be known at once."""
        known = self._known()
        unknown = set() if known is None else _children() - set(known)
        for pid in unknown & self._seen:
            if _carries(pid, self.mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._seen = unknown


def _children() -> set[int]:
    """From the kernel's list where it keeps one, otherwise by asking each process for its parent."""
    threads = list(Path("/proc/self/task").iterdir())
    if (threads[0] / "children").exists():
        return {int(pid) for thread in threads for pid in _read(thread / "children").split()}
    own = str(os.getpid())
    entries = (entry for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return {int(entry.name) for entry in entries if _parent(entry) == own}


def _parent(entry: Path) -> str | None:
    # The command's name in the brackets may hold anything, also brackets and blanks.
    fields = _read(entry / "stat").rpartition(")")[2].split()
    return fields[1] if fields else None


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # it has ended meanwhile
        return ""


def _carries(pid: int, mark: str) -> bool:
    try:
        return f"{MARK_VARIABLE}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
