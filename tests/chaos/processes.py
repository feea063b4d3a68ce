"""What /proc tells of a process: whether it lives, and whether it is still the one that was meant."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_STATE, _PARENT, _GROUP, _STARTED = 0, 1, 2, 19


@dataclass(frozen=True)
class Seen:
    """A process as it was seen alive: its number, and the clock tick it started at, which tells it from a later one."""

    pid: int
    started: int

    @property
    def is_alive(self) -> bool:
        """True while it exists and is more than a zombie."""
        now = _stat(self.pid)
        return now is not None and now[_STATE] not in {"Z", "X"} and int(now[_STARTED]) == self.started

    @property
    def group(self) -> list[int]:
        """The living processes of the group it leads, itself included."""
        return [pid for pid, stat in _all() if int(stat[_GROUP]) == self.pid and stat[_STATE] not in {"Z", "X"}]

    def send(self, number: signal.Signals) -> None:
        """Signals it, unless it has gone."""
        if self.is_alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def seen(pid: int) -> Seen | None:
    """The process as it is now; None when there is none."""
    stat = _stat(pid)
    return Seen(pid, int(stat[_STARTED])) if stat is not None and stat[_STATE] not in {"Z", "X"} else None


def send_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def children(parent: int) -> list[Seen]:
    """The living children of a process, oldest first."""
    found = [Seen(pid, int(stat[_STARTED])) for pid, stat in _all() if int(stat[_PARENT]) == parent]
    return sorted((one for one in found if one.is_alive), key=lambda one: one.started)


def fork_server_of(worker: int) -> Seen | None:
    """The fork server among a worker's children: runs carry its command line too, and are younger."""
    return next((one for one in children(worker) if b"worker.forkserver" in _command(one.pid)), None)


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _all() -> list[tuple[int, list[str]]]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        stat = _stat(int(entry.name))
        if stat is not None:
            found.append((int(entry.name), stat))
    return found


def _stat(pid: int) -> list[str] | None:
    """State, parent, group, ... : what follows the command's name, which may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return None
