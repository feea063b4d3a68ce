"""Processes: started with a marker in their environment, found again by it, ended with everything they started.

The supervisor is a child subreaper, so that what a killed worker leaves behind becomes the supervisor's child and
not init's. The marker survives the supervisor: `python -m sandbox down` finds leftovers by it.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

MARKER = "SANDBOX_ID"
PART_MARKER = "SANDBOX_PART"

_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")


class Process:
    """One child. `exited` is set by the kernel's word (a pidfd), without a thread and without polling."""

    def __init__(self, command: list[str], *, env: Mapping[str, str], log: Path, cwd: Path) -> None:
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._popen.pid
        self.exited = asyncio.Event()
        self._descriptor = os.pidfd_open(self.pid)
        asyncio.get_running_loop().add_reader(self._descriptor, self._on_exit)

    def _on_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._popen.wait()
        self.exited.set()

    @property
    def status(self) -> str:
        """How it ended, in words."""
        code = self._popen.returncode
        if code is None:
            return "running"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def send(self, number: signal.Signals) -> None:
        if not self.exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def wait(self, seconds: float) -> bool:
        """Whether it has exited within the time."""
        try:
            await asyncio.wait_for(self.exited.wait(), seconds)
        except TimeoutError:
            return False
        return True


def become_subreaper() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def marked(sandbox_id: str, part: str | None = None) -> set[int]:
    """The living processes whose environment carries the marker (and the part's)."""
    wanted = {f"{MARKER}={sandbox_id}".encode()}
    if part is not None:
        wanted.add(f"{PART_MARKER}={part}".encode())
    found = set()
    for entry in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted <= set((entry / "environ").read_bytes().split(b"\0")):
                found.add(int(entry.name))
    return found - {os.getpid()}


def descendants(roots: Iterable[int]) -> set[int]:
    """The roots that live and everything below them."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            children.setdefault(_parent(entry), []).append(int(entry.name))
    waiting = [pid for pid in roots if is_alive(pid)]
    found: set[int] = set()
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def is_alive(pid: int) -> bool:
    """Whether the process exists and is more than a zombie."""
    try:
        return _stat(_PROC / str(pid))[0] not in {"Z", "X"}
    except OSError:
        return False


def kill_tree(sandbox_id: str, part: str, roots: Iterable[int]) -> set[int]:
    """SIGKILL for a part and everything it started. All are stopped first, so that none forks away meanwhile."""
    frozen: set[int] = set()
    while new := (marked(sandbox_id, part) | descendants({*roots, *frozen})) - frozen:
        _signal(new, signal.SIGSTOP)
        frozen |= new
    _signal(frozen, signal.SIGKILL)
    return frozen


async def end_all(pids: set[int], *, grace_seconds: float = 3.0) -> None:
    """SIGTERM, and SIGKILL for what is left after the grace."""
    _signal(pids, signal.SIGTERM)
    if await _gone(pids, grace_seconds):
        return
    _signal(pids, signal.SIGKILL)
    await _gone(pids, grace_seconds)


class Orphans:
    """Children that became ours when their own parent died: nobody else waits for them.

    Only what belongs to a part's session or was once seen below a part is collected: a test's own child processes
    are the test's, and the parts' own processes are waited for by `Process`.
    """

    def __init__(self) -> None:
        self._parts: set[int] = set()
        self._seen: set[int] = set()

    def remember(self, parts: Iterable[int]) -> None:
        """Note what the parts have started, while the tree still tells."""
        living = set(parts)
        self._parts |= living
        self._seen = {pid for pid in self._seen if _exists(pid)} | (descendants(living) - living)

    def reap(self) -> None:
        for pid, state, session in _children(os.getpid()):
            if state == "Z" and pid not in self._parts and (pid in self._seen or session in self._parts):
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
                self._seen.discard(pid)


def _exists(pid: int) -> bool:
    return (_PROC / str(pid)).exists()


def _children(parent: int) -> list[tuple[int, str, int]]:
    """Pid, state and session of each child."""
    found = []
    for entry in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, its_parent, _group, session = _stat(entry)[:4]
            if int(its_parent) == parent:
                found.append((int(entry.name), state, int(session)))
    return found


async def _gone(pids: set[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _stat(entry: Path) -> list[str]:
    """State, parent, process group, session, ...: what follows the command's name, which may hold anything."""
    return (entry / "stat").read_text().rpartition(")")[2].split()


def _parent(entry: Path) -> int:
    return int(_stat(entry)[1])
