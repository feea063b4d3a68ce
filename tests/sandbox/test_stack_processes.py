"""Process trees: what a part started ends with it, or outlives it where that is asked for."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

import pytest

from sandbox.parts import Part
from sandbox.process import MARKER, Orphans, become_subreaper, descendants, is_alive, marked
from sandbox.running import RunningPart

# Of this process: another may run the same tests at the same time.
_ID = f"test-of-process-trees-{os.getpid()}"


@pytest.fixture
async def family(tmp_path: Path) -> AsyncIterator[RunningPart]:
    """A part that has started a child in its own session, and one in a session of the child's own."""

    async def is_ready(_since: datetime) -> bool:
        return len(marked(_ID)) == 3

    part = Part("family", lambda: ["sh", "-c", "sleep 60 & setsid sleep 60 & wait"], {}, is_ready)
    become_subreaper()
    running = RunningPart(
        part,
        log=tmp_path / "log",
        sandbox_id=_ID,
        environment={"PATH": os.environ["PATH"], MARKER: _ID},
        on_death=lambda _part: None,
        hide=lambda text: text,
    )
    await running.start()
    yield running
    await running.stop()


async def test_kill_ends_the_part_and_everything_it_started(family: RunningPart) -> None:
    pids = marked(_ID)
    await family.kill()
    await _until(lambda: not any(is_alive(pid) for pid in pids))


async def test_kill_only_leaves_what_the_part_started(family: RunningPart) -> None:
    assert family.process is not None
    parent, pids = family.process.pid, marked(_ID)
    await family.kill(only=True)
    assert not is_alive(parent)
    assert marked(_ID) == pids - {parent}


async def test_stop_also_ends_what_an_earlier_kill_left(family: RunningPart) -> None:
    await family.kill(only=True)
    await family.stop()
    assert marked(_ID) == set()


async def test_orphans_are_reaped_by_the_supervisor(family: RunningPart) -> None:
    assert family.process is not None
    orphans, parent = Orphans(), family.process.pid
    pids = descendants([parent])
    orphans.remember([parent])
    await family.kill()

    def gone() -> bool:
        orphans.reap()
        return not any(Path(f"/proc/{pid}").exists() for pid in pids)

    await _until(gone)


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(250):
        if condition():
            return
        await asyncio.sleep(0.02)
    pytest.fail("did not come about within 5 s")
