"""The measurements that every system goes through, in the same order."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping

from bench.figures import reading
from bench.goals import (
    FIRST_LINE_COLD,
    FIRST_LINE_WARM,
    MEMORY,
    MEMORY_ALL,
    PAGE,
    PROCESSOR,
    START,
    THROUGHPUT,
    TRIGGER_ALONE,
    TRIGGER_TOGETHER,
)
from bench.jobs import at_once
from bench.peers.environment import Unavailable
from bench.peers.system import System, Triggered
from bench.processes import idle
from bench.whole import written

SIZES = {"runs": 15, "starts": 1, "burst": 32, "at_once": 16, "rows": 100_000, "pages": 50, "idle": 30}
PAGE_ROWS = 50
WARM_UP_RUNS = 2
_SETTLE_SECONDS = 5.0


class Measuring:
    def __init__(self, system: System, sizes: Mapping[str, int]) -> None:
        self.system = system
        self.sizes = sizes

    async def measure(self) -> None:
        """All of it. The figures are told at the end, so that a system that fails half-way has none."""
        started: list[float] = []
        cold: list[float] = []
        for number in range(1, self.sizes["starts"] + 1):
            began = time.monotonic()
            async with self.system.running():
                started.append(time.monotonic() - began)
                self._say(f"started in {started[-1]:.1f} s")
                _, seconds = await self._run()
                cold.append(seconds * 1000)
                if number == self.sizes["starts"]:
                    await self._while_running()
        self._tell(FIRST_LINE_COLD, cold, "ms")
        self._tell(START, started, "s")

    async def _while_running(self) -> None:
        for _ in range(WARM_UP_RUNS):
            await self._run()
        found = [await self._run() for _ in range(self.sizes["runs"])]
        self._say(f"{len(found)} runs alone")
        together, rate = await self._burst()
        self._say(f"{len(together)} runs, {self.sizes['at_once']} triggered at once")
        await asyncio.sleep(min(_SETTLE_SECONDS, self.sizes["idle"]))
        groups = {"own": self.system.pids, "database": self.system.database_pids}
        needs = await idle(groups, self.sizes["idle"])
        pages = await self._pages() if self.system.has_pages else []
        self._tell(TRIGGER_ALONE, [one.seconds * 1000 for one, _ in found], "ms")
        self._tell(TRIGGER_TOGETHER.format(self.sizes["at_once"]), together, "ms")
        self._tell(FIRST_LINE_WARM, [seconds * 1000 for _, seconds in found], "ms")
        self._tell(THROUGHPUT.format(self.sizes["burst"]), rate, "jobs/s")
        if pages:
            self._tell(PAGE.format(f"{self.sizes['rows']:,}"), pages, "ms")
        (percent, own), (_, database) = needs["own"], needs["database"]
        self._tell(MEMORY, own, "MB")
        self._tell(MEMORY_ALL, own + database, "MB")
        self._tell(PROCESSOR, percent, "% of a core")

    async def _run(self) -> tuple[Triggered, float]:
        """One run alone: its trigger, and the seconds until its first line. Then it gets the time to end."""
        triggered = await self.system.trigger()
        seconds = await written(triggered.file) - triggered.at
        await asyncio.sleep(0.3 + seconds)
        return triggered, seconds

    async def _burst(self) -> tuple[list[float], float]:
        """How long each trigger took, in ms, and how many jobs a second had begun until the last one."""
        found: list[Triggered] = []

        async def trigger() -> None:
            found.append(await self.system.trigger())

        began = time.time()
        await at_once(trigger, self.sizes["burst"], self.sizes["at_once"])
        last = max([await written(one.file) for one in found])
        return [one.seconds * 1000 for one in found], len(found) / (last - began)

    async def _pages(self) -> list[float]:
        await self.system.fill(self.sizes["rows"])
        self._say(f"{self.sizes['rows']} more runs in its history")
        taken = []
        for number in range(self.sizes["pages"] + 3):
            began = time.perf_counter()
            rows = await self.system.newest()
            seconds = time.perf_counter() - began
            if rows != PAGE_ROWS:
                raise Unavailable(f"its list of the {PAGE_ROWS} newest runs had {rows}")
            if number >= 3:  # noqa: PLR2004  # the first few fill caches
                taken.append(seconds * 1000)
        return taken

    def _tell(self, name: str, value: float | list[float], unit: str) -> None:
        reading(name, value, unit=unit, system=self.system.title)

    def _say(self, text: str) -> None:
        print(f"{self.system.title}: {text}", file=sys.stderr, flush=True)
