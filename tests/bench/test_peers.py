from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench.peers.__main__ import SYSTEMS
from bench.peers.environment import REQUIREMENTS, Unavailable, version_of
from bench.peers.libraries import INSIDE
from bench.peers.measuring import Measuring
from bench.peers.services import services
from bench.peers.system import System, Triggered
from bench.results import figure_of
from sandbox.process import is_alive

PYTHON = Path(sys.executable).parent
SLEEP = ("python", "-c", "import time; time.sleep(60)")
SIZES = {"runs": 3, "starts": 2, "burst": 4, "at_once": 2, "rows": 10, "pages": 4, "idle": 0}


class Instant(System):
    """Runs its jobs before it has answered. Notes what it was asked."""

    title = "Instant 1.0"

    def __init__(self, folder: Path, *, page: int = 50) -> None:
        super().__init__()
        self.folder = folder
        self.asked: list[str] = []
        self._page = page

    async def prepare(self) -> None: ...

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.asked.append("start")
        yield
        self.asked.append("stop")

    async def trigger(self) -> Triggered:
        file = self.folder / str(len(self.asked))
        file.write_text(repr(time.time()))
        self.asked.append("trigger")
        return Triggered(time.time(), 0.25, file)

    def pids(self) -> Iterable[int]:
        return []

    def database_pids(self) -> Iterable[int]:
        return []

    async def fill(self, rows: int) -> None:
        self.asked.append(f"fill {rows}")

    async def newest(self) -> int:
        return self._page


async def test_every_system_goes_through_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system = Instant(tmp_path)
    await Measuring(system, SIZES).measure()
    # A cold run after each start; two to warm up, the measured ones and the burst after the last.
    assert system.asked == ["start", "trigger", "stop", "start", *["trigger"] * 10, "fill 10", "stop"]
    figures = [figure_of(line) for line in capsys.readouterr().out.splitlines()]
    found = {figure.name: figure for figure in figures if figure is not None}
    assert {figure.system for figure in found.values()} == {"Instant 1.0"}
    counts = {name: figure.value.count for name, figure in found.items() if figure.value is not None}
    assert counts["trigger, alone"] == 3
    assert counts["trigger, 2 at once"] == 4
    assert counts["trigger to first line, cold"] == counts["start"] == 2
    assert counts["50 newest of 10 runs"] == 4
    assert found["trigger, alone"].value is not None
    assert found["trigger, alone"].value.median == 250


async def test_a_system_that_fails_half_way_has_no_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Unavailable, match="50 newest runs had 49"):
        await Measuring(Instant(tmp_path, page=49), SIZES).measure()
    assert capsys.readouterr().out == ""


async def test_the_processes_of_a_system_end_with_it_and_all_they_have_started(tmp_path: Path) -> None:
    tells_its_child = (
        "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(60)"
    )
    command = ("python", "-c", tells_its_child, sys.executable, *SLEEP[1:])
    async with services(tmp_path, PYTHON, {}) as made:
        made.start("parent", *command)
        await made.until(lambda: _said(made.log("parent")), "it has told")
        pids = {*made.pids(), int(made.log("parent"))}
        assert all(map(is_alive, pids))
    assert not any(map(is_alive, pids))


async def _said(text: str) -> bool:
    return text.endswith("\n")


async def test_the_processes_of_a_system_end_when_measuring_it_fails(tmp_path: Path) -> None:
    pids: set[int] = set()

    async def measure() -> None:
        async with services(tmp_path, PYTHON, {}) as made:
            made.start("sleeper", *SLEEP)
            pids.update(made.pids())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await measure()
    assert pids
    assert not any(map(is_alive, pids))


async def test_a_process_that_dies_at_its_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    async with services(tmp_path, PYTHON, {}) as made:
        made.start("broken", "python", "-c", "raise SystemExit('no database here')")
        with pytest.raises(Unavailable, match=r"broken ended at its start \(exit status 1\): no database here"):
            await asyncio.wait_for(made.until(never, "it is ready"), 60)


async def test_a_command_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    async with services(tmp_path, PYTHON, {}) as made:
        with pytest.raises(Unavailable, match=r"migrate failed .*: cannot"):
            await made.run("migrate", "python", "-c", "raise SystemExit('cannot')")


@pytest.mark.parametrize("file", sorted(REQUIREMENTS.glob("*.txt")), ids=lambda file: file.stem)
def test_all_that_is_installed_for_a_system_is_pinned(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert [line for line in lines if "==" not in line] == []
    assert file.stem in SYSTEMS


def test_a_system_is_called_by_the_version_that_is_installed() -> None:
    assert f"celery=={version_of('celery', 'celery')}" in (REQUIREMENTS / "celery.txt").read_text()


def test_what_runs_in_the_environments_of_others_imports_nothing_of_ours() -> None:
    scripts = list(INSIDE.glob("*.py"))
    assert scripts
    for script in scripts:
        assert "bench" not in {
            word for line in script.read_text().splitlines() if "import" in line for word in line.split()
        }
