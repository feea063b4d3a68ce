"""What the person at the terminal sees: lines that stay, and one that is written over."""

import shutil
import sys
import time
from collections.abc import Iterable
from typing import TextIO

from sandbox.stack import Reporter

_CLEAR = "\r\x1b[2K"


class Terminal(Reporter):
    """Where the output is no terminal, progress becomes a line at most every `quiet_seconds`."""

    def __init__(self, output: TextIO | None = None, *, quiet_seconds: float = 10) -> None:
        self._output = output or sys.stdout
        self._is_terminal = self._output.isatty()
        self._quiet_seconds = quiet_seconds
        self._has_progress = False
        self._last_progress_at = time.monotonic()

    def line(self, text: str = "") -> None:
        self._write(("" if not self._has_progress else _CLEAR) + text + "\n")
        self._has_progress = False

    def progress(self, text: str) -> None:
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"{_CLEAR}{text[:width]}")
            self._has_progress = True
        elif time.monotonic() - self._last_progress_at >= self._quiet_seconds:
            self._write(f"{text}\n")
            self._last_progress_at = time.monotonic()

    def ready(self, name: str, where: str, seconds: float | None) -> None:
        took = "" if seconds is None else f"{seconds:5.1f} s"
        self.line(f"  {name:<12} {where:<58} {took}".rstrip())
        self._last_progress_at = time.monotonic()

    def waiting(self, names: Iterable[str]) -> None:
        if left := list(names):
            self.progress(f"  waiting for {', '.join(left)}")

    def _write(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()
