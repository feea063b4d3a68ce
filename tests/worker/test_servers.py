"""Fork servers that are to be replaced, and what is there at any time: one, of the code that is on disk."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.worker.harness import REPOSITORY, children, is_alive, until
from worker.servers import ForkServers

_SLOW = """import pathlib, time
pathlib.Path(__file__).with_suffix('.begun').touch()
time.sleep(1)
# {0}
"""


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[ForkServers]:
    """That have `slow` to import, a module of a second."""
    made = ForkServers(logging.getLogger("tests"), 100)
    made.environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    (tmp_path / "slow.py").write_text(_SLOW.format("old"))
    made.preload = {"slow"}
    yield made
    made.close()


async def test_one_server_is_kept_while_nothing_changes(servers: ForkServers) -> None:
    first = await servers.ready()
    assert await servers.ready() is first


async def test_what_changes_while_it_is_imported_is_imported_again(servers: ForkServers, tmp_path: Path) -> None:
    coming = asyncio.create_task(servers.ready())
    await until((tmp_path / "slow.begun").exists, 30, "it is being imported")
    (tmp_path / "slow.py").write_text(_SLOW.format("new"))
    first = await coming
    second = await servers.ready()
    assert second is not first
    assert not first.is_alive
    assert await servers.ready() is second


async def test_an_environment_that_changes_meanwhile_is_taken_up(servers: ForkServers, tmp_path: Path) -> None:
    coming = asyncio.create_task(servers.ready())
    await until((tmp_path / "slow.begun").exists, 30, "it is being started")
    servers.environment = {**servers.environment, "NEW": "1"}
    first = await coming
    second = await servers.ready()
    assert (first.environment.get("NEW"), second.environment.get("NEW")) == (None, "1")


async def test_a_change_while_a_worn_one_is_being_replaced_leaves_one(servers: ForkServers, tmp_path: Path) -> None:
    first = await servers.ready()
    (tmp_path / "later.py").write_text(_SLOW.format("later"))
    servers.preload.add("later")
    assert await servers.ready() is first
    await until((tmp_path / "later.begun").exists, 30, "another is on its way")
    (tmp_path / "slow.py").write_text(_SLOW.format("new"))
    last = await servers.ready()
    assert await servers.ready() is last
    assert servers.pids == [last.pid]
    assert [pid for pid in children(os.getpid()) if is_alive(pid) and _is_fork_server(pid)] == [last.pid]


def _is_fork_server(pid: int) -> bool:
    return b"worker.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
