"""Control groups of a run, version 2 or 1, where this process may make some: limits for the run as a whole.

They are made below the worker's own group, so that no limit of a container or session around it is left behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from worker.requests import Limits

_MEGABYTE = 1 << 20
_REMOVAL_TRIES = 40


@dataclass(frozen=True)
class Controllers:
    """Where groups for memory and for processes can be made, None where they cannot; one folder in version 2."""

    memory: Path | None = None
    pids: Path | None = None
    version: int = 1

    @classmethod
    def find(cls) -> Controllers:
        """Tries: whether a group can really be made is seen by making one."""
        found = _find_v2() or cls(memory=_usable(_v1("memory")), pids=_usable(_v1("pids")))
        for parent in (found.memory, found.pids):
            if parent is not None:
                _remove_abandoned(parent)
        return found

    def make(self, name: str, limits: Limits) -> RunGroups:
        """The groups of one run. Without controllers there are none, and the run is held by its process group alone."""
        # In version 1 a process with one thread enters through `tasks` without stopping all others for 18 ms.
        entrance = "cgroup.procs" if self.version == 2 else "tasks"  # noqa: PLR2004
        groups = RunGroups({parent / name for parent in (self.memory, self.pids) if parent is not None}, entrance)
        for folder in groups.folders:
            folder.mkdir()
        if self.memory is not None and limits.memory_mb is not None:
            _limit_memory(self.memory / name, limits.memory_mb * _MEGABYTE, self.version)
        if self.pids is not None and limits.max_processes is not None:
            (self.pids / name / "pids.max").write_text(str(limits.max_processes))
        return groups


class RunGroups:
    """The control groups of one run, as folders."""

    def __init__(self, folders: set[Path], entrance: str) -> None:
        self.folders = folders
        self._entrance = entrance

    @property
    def entrances(self) -> tuple[str, ...]:
        """Files through which a process enters."""
        return tuple(str(folder / self._entrance) for folder in self.folders)

    def kill(self) -> None:
        """SIGKILL for every process in the groups, wherever it has moved in session or parentage."""
        for pid in self._members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def was_out_of_memory(self) -> bool:
        """Whether the kernel has killed for this run's memory limit."""
        return any(_oom_kills(folder) > 0 for folder in self.folders)

    def was_out_of_processes(self) -> bool:
        """Whether the kernel has refused a fork for this run's process limit."""
        return any(_count(folder / "pids.events", "max") > 0 for folder in self.folders)

    def remove(self) -> None:
        """Kills what is left and removes the groups. Blocks up to 2 s, so that the kernel can bury the dead."""
        for _ in range(_REMOVAL_TRIES):
            self.kill()
            for folder in list(self.folders):
                with contextlib.suppress(FileNotFoundError):
                    try:
                        folder.rmdir()
                    except OSError:
                        continue
                self.folders.discard(folder)
            if not self.folders:
                return
            time.sleep(0.05)

    def _members(self) -> set[int]:
        found: set[int] = set()
        for folder in self.folders:
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
        return found - {0, os.getpid()}


def _find_v2() -> Controllers | None:
    own = _own_groups().get("")
    if own is None:
        return None
    parent = Path("/sys/fs/cgroup") / own.lstrip("/")
    try:
        held = (parent / "cgroup.subtree_control").read_text().split()
    except OSError:
        return None
    usable = _usable(parent)
    if usable is None or not {"memory", "pids"} & set(held):
        return None
    return Controllers(usable if "memory" in held else None, usable if "pids" in held else None, version=2)


def _v1(controller: str) -> Path | None:
    own = _own_groups().get(controller)
    return None if own is None else Path("/sys/fs/cgroup") / controller / own.lstrip("/")


def _own_groups() -> dict[str, str]:
    """Controller to this process's group; the empty name is version 2's."""
    groups = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            groups.update(dict.fromkeys(controllers.split(","), path))
    return groups


def _usable(parent: Path | None) -> Path | None:
    if parent is None:
        return None
    trial = parent / f"worker-trial-{os.getpid()}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError:
        return None
    return parent


def _remove_abandoned(parent: Path) -> None:
    """Removes the empty groups of workers that were killed; one with a living run in it stays."""
    for folder in parent.glob("run-*-*"):
        if not Path("/proc", folder.name.split("-")[1]).exists():
            with contextlib.suppress(OSError):
                folder.rmdir()


def _limit_memory(folder: Path, limit: int, version: int) -> None:
    if version == 2:  # noqa: PLR2004
        (folder / "memory.max").write_text(str(limit))
        with contextlib.suppress(OSError):
            (folder / "memory.swap.max").write_text("0")
        return
    (folder / "memory.limit_in_bytes").write_text(str(limit))
    with contextlib.suppress(OSError):
        (folder / "memory.memsw.limit_in_bytes").write_text(str(limit))


def _oom_kills(folder: Path) -> int:
    return _count(folder / "memory.events", "oom_kill") or _count(folder / "memory.oom_control", "oom_kill")


def _count(file: Path, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
