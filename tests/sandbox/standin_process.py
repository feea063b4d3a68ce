"""Starting a stand-in as a process of its own, on a free port, for the length of a `with`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class RunningStandIn:
    url: str
    process: subprocess.Popen[str]


@contextmanager
def running(name: str, **settings: str) -> Iterator[RunningStandIn]:
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("CLERK_", "DATABASE_", "SITE_"))
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox.standins", name, "--port", "0"],
        env=environment | settings,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith(f"{name} ready on http://127.0.0.1:"), line
        yield RunningStandIn(line.split()[-1], process)
    finally:
        process.terminate()
        process.wait(5)
        process.stdout.close()
