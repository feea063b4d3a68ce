"""Commands run as a person has them, at a terminal of 80 columns, and as a script has them, through pipes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sandbox.state import REPOSITORY

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LIVE = re.compile(r"\r(?!\n)|\x1b\[[0-9;?]*[A-Za-ln-z]")
"""What moves in a line: a return that begins no new one, every control sequence that is no colour."""

_WRITTEN = re.compile(r"(\x1b\[\??([0-9;]*)([A-Za-z]))|([^\x1b])", re.DOTALL)

# Whatever CI or a person has set: a test says itself what it wants.
_STEERING = ("CI", "NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
_PATIENCE_SECONDS = 60.0
_ENV = shutil.which("env") or "env"
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Seen:
    status: int
    output: str
    errors: str
    """Apart only through pipes: a terminal shows both in one."""

    @property
    def text(self) -> str:
        return self.output + self.errors

    @property
    def lines(self) -> list[str]:
        """What stays of it in the end, without colour and empty lines."""
        return [line for line in map(str.rstrip, _screen(COLOUR.sub("", self.text))) if line]


def _screen(text: str) -> list[str]:
    """What a terminal that never runs out of lines or columns shows when all of it is written."""
    lines, row, column = [""], 0, 0
    for sequence, count, letter, character in _WRITTEN.findall(text):
        if character == "\n":
            row, column = row + 1, 0
            lines += [""] * (row == len(lines))
        elif character == "\r":
            column = 0
        elif character:
            lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
            column += 1
        elif letter == "A":
            row = max(0, row - int(count or 1))
        elif letter == "K":
            assert sequence == "\x1b[2K"
            lines[row] = ""
    return lines


def python(*words: str) -> list[str]:
    return [sys.executable, *words]


def piped(
    command: Sequence[str],
    environment: Mapping[str, str] = _NOTHING,
    *,
    cwd: Path = REPOSITORY,
    unset: Sequence[str] = (),
) -> Seen:
    """How it ends and what it prints where nobody watches."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=_environment(unset, environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_SECONDS,
    )
    return Seen(done.returncode, done.stdout, done.stderr)


def watched(
    command: Sequence[str],
    environment: Mapping[str, str] = _NOTHING,
    *,
    cwd: Path = REPOSITORY,
    interrupt_at: str = "",
    unset: Sequence[str] = (),
) -> Seen:
    """The same at a terminal; Ctrl-C is pressed as soon as the pattern `interrupt_at` has appeared."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    process = subprocess.Popen(
        # As a terminal's shell has it: whoever runs the tests in the background may have had Ctrl-C ignored for all.
        [_ENV, "--default-signal=INT", *command],
        cwd=cwd,
        env=_environment(unset, {"TERM": "xterm-256color", **environment}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        shown = _shown(ours, process, interrupt_at)
    finally:
        os.close(ours)
        if process.poll() is None:
            process.kill()
        process.wait()
    return Seen(process.returncode, shown, "")


def _shown(terminal: int, process: subprocess.Popen[bytes], interrupt_at: str) -> str:
    deadline, shown = time.monotonic() + _PATIENCE_SECONDS, b""
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            read = os.read(terminal, 65_536)
        except OSError:  # the last of them has closed it
            break
        if not read:
            break
        shown += read
        if interrupt_at and re.search(interrupt_at.encode(), shown):
            os.killpg(process.pid, signal.SIGINT)
            interrupt_at = ""
    process.wait(max(1, deadline - time.monotonic()))
    return shown.decode()


def _environment(unset: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {*_STEERING, *unset}}
    return kept | dict(environment)
