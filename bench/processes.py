"""What processes need, with all that they have started."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from bench.figures import memory_mb
from sandbox.process import descendants

_TICKS = os.sysconf("SC_CLK_TCK")


def tree_memory_mb(roots: Iterable[int]) -> float:
    """Their proportional shares together. One that ends meanwhile needs nothing."""
    total = 0.0
    for pid in descendants(roots):
        with suppress(ProcessLookupError, FileNotFoundError, KeyError):
            total += memory_mb(pid)
    return total


def tree_cpu_seconds(roots: Iterable[int]) -> float:
    """Of the processor, in user and kernel; of children that have ended too, where somebody has waited for them."""
    total = 0.0
    for pid in descendants(roots):
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / _TICKS
    return total


async def idle(groups: dict[str, Callable[[], Iterable[int]]], seconds: float) -> dict[str, tuple[float, float]]:
    """Name to percent of a core, and MB, while nothing happens."""
    loop = asyncio.get_running_loop()
    before = {name: tree_cpu_seconds(roots()) for name, roots in groups.items()}
    began = loop.time()
    await asyncio.sleep(seconds)
    passed = loop.time() - began
    return {
        name: (max(0.0, tree_cpu_seconds(roots()) - before[name]) / passed * 100, tree_memory_mb(roots()))
        for name, roots in groups.items()
    }
