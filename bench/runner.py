"""Runs the benchmarks one after the other, each in a process of its own, and keeps what they print."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from bench.figures import MISSED
from bench.machine import Load, describe, revision
from bench.parts import Part
from bench.results import Figure, Run, figure_of
from sandbox.parts import dying_with_us
from sandbox.state import REPOSITORY

_GRACE_SECONDS = 60.0


class Unmeasured(Exception):
    """A benchmark has failed before it had measured everything."""


def run(part: Part, arguments: str) -> Run:
    """Measures a part. Raises Unmeasured; what it had printed until then counts for nothing."""
    command = dying_with_us([sys.executable, "-m", part.module, *arguments.split()])
    began, at = time.monotonic(), datetime.now(UTC)
    figures: list[Figure] = []
    with Load() as load, subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if (figure := figure_of(line)) is None:
                    print(line, end="", file=sys.stderr, flush=True)
                else:
                    figures.append(replace(figure, system=figure.system or (part.system and part.title)))
            status = process.wait()
        except BaseException:
            _end(process)
            raise
    if status not in {0, MISSED}:
        raise Unmeasured(f"python -m {part.module} {arguments} ended with {status} after {len(figures)} figures")
    return Run(
        part=part.name,
        at=at.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 1),
        load=load.extremes,
        arguments=arguments,
        revision=revision(),
        machine=describe(),
        figures=tuple(figures),
    )


def _end(process: subprocess.Popen[str]) -> None:
    """It is asked as Ctrl-C asks it, so that it stops what it has started."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGINT)
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
