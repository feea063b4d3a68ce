"""A process that ends itself ends what it has started as well, also where it is the first of a container."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import os, signal, subprocess, sys, threading, time
from flows.core import heartbeat
heard = []
signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
child = subprocess.Popen(["sleep", "60"])
assert not heartbeat.is_ending_its_process()
thread = threading.Thread(target=heartbeat._signal_ourselves, args=(signal.SIGTERM,))
thread.start()
thread.join()
assert heartbeat.is_ending_its_process()
print(os.getpid() == 1, heard == [signal.SIGTERM], child.wait(10) == -signal.SIGTERM)
"""


async def said(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        *(sys.executable, "-c", SCRIPT),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return output.decode().strip()


async def test_a_group_of_its_own_gets_the_signal() -> None:
    assert await said() == "False True True"


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root can make a PID namespace")
async def test_the_first_process_of_a_container_and_all_beside_it_get_the_signal() -> None:
    assert await said("unshare", "--fork", "--pid", "--kill-child") == "True True True"
