"""What was tried how often, what held, and how long the longest took: the harness's one result."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

_BEGAN = time.monotonic()


def say(text: str) -> None:
    """A line of progress, with the seconds since the start."""
    print(f"[{time.monotonic() - _BEGAN:6.1f}] {text}", flush=True)


@dataclass
class Scenario:
    """One row: `worst` is the longest time of a run in seconds, whatever the scenario measures."""

    name: str
    runs: int = 0
    passes: int = 0
    worst: float | None = None
    measure: str = ""


@dataclass
class Table:
    scenarios: dict[str, Scenario] = field(default_factory=dict)

    def scenario(self, name: str, measure: str = "") -> Scenario:
        """The row of that name; `measure` says what its time is, the first time it is asked for."""
        return self.scenarios.setdefault(name, Scenario(name, measure=measure))

    def passed(self, name: str, seconds: float | None = None) -> None:
        row = self.scenario(name)
        row.runs += 1
        row.passes += 1
        self._note_time(row, seconds)

    def failed(self, name: str, why: str, seconds: float | None = None) -> None:
        """Notes a failure and prints it at once: what happens next may say more about it."""
        row = self.scenario(name)
        row.runs += 1
        self._note_time(row, seconds)
        say(f"FAILED {name}: {why}")

    async def attempt(
        self, name: str, run: Awaitable[float | None], *, evidence: Callable[[], Awaitable[str]] | None = None
    ) -> bool:
        """Counts one run: passed when it returns (its time, or None), failed when it raises, with the evidence."""
        try:
            seconds = await run
        except asyncio.CancelledError:
            self.failed(name, "it was not done in time")
            raise
        except Exception as error:  # noqa: BLE001  # one run that goes wrong must not end the others
            told = str(error) if isinstance(error, AssertionError) and str(error) else traceback.format_exc()
            self.failed(name, told + (await _safely(evidence) if evidence else ""))
            return False
        self.passed(name, seconds)
        return True

    @staticmethod
    def _note_time(row: Scenario, seconds: float | None) -> None:
        if seconds is not None:
            row.worst = seconds if row.worst is None else max(row.worst, seconds)

    @property
    def all_passed(self) -> bool:
        """False also when nothing was tried, or a scenario was never run."""
        return bool(self.scenarios) and all(row.runs and row.passes == row.runs for row in self.scenarios.values())

    def print(self) -> None:
        """The table, and the plain last line."""
        width = max((len(name) for name in self.scenarios), default=8)
        print(f"\n{'scenario':<{width}}  {'runs':>5}  {'passes':>6}  worst time")
        for row in self.scenarios.values():
            worst = "" if row.worst is None else f"{row.worst:8.1f} s  {row.measure}"
            print(f"{row.name:<{width}}  {row.runs:>5}  {row.passes:>6}  {worst}".rstrip())
        passes = sum(row.passes for row in self.scenarios.values())
        failures = sum(row.runs - row.passes if row.runs else 1 for row in self.scenarios.values())
        print(f"\n{passes} passed, {failures} failed", flush=True)


async def _safely(evidence: Callable[[], Awaitable[str]]) -> str:
    try:
        return "\n" + await evidence()
    except Exception as error:  # noqa: BLE001  # the failure itself is what must be told
        return f"\n(no evidence: {error})"
