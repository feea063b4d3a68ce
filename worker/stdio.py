"""Standard output of a run that outlives its worker: nobody reads the pipe any more, and that must not end the run."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


class _Unbroken(io.FileIO):
    """Writes to nowhere once its reader is gone; so do subprocesses that are started after that."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno(), inheritable=True)
            os.close(nowhere)
            return len(data)


def replace_standard_streams() -> None:
    """Done before anything is imported that keeps sys.stdout or sys.stderr, as logging does."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        raw = _Unbroken(descriptor, "w", closefd=False)
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
