"""How every benchmark of the project says what it found: one JSON line for each figure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path


def figure(name: str, *, ours: float, limit: float, unit: str, goal: str, peak_mb: float) -> bool:
    """Prints the line; whether the goal, such as "<=0.15" or ">=1" for ours / limit, is met."""
    ratio = ours / limit
    line = {
        "name": name,
        "ours": round(ours, 3),
        "limit": round(limit, 3),
        "unit": unit,
        "ratio": round(ratio, 3),
        "goal": goal,
        "peak_mb": round(peak_mb, 1),
    }
    print(json.dumps(line), flush=True)
    if not goal:
        return True
    wanted = float(goal[len("<=") :])
    return ratio >= wanted if goal.startswith(">=") else ratio <= wanted


def p50(values: Iterable[float]) -> float:
    return statistics.median(values)


def memory_mb(pid: int) -> float:
    """The proportional share of a process in memory: what it shares with others is counted once."""
    return _field(f"/proc/{pid}/smaps_rollup", "Pss:") / 1024


def peak_mb(pid: int) -> float:
    """The most a process has had in memory, shared or not."""
    return _field(f"/proc/{pid}/status", "VmHWM:") / 1024


def _field(file: str, name: str) -> float:
    for line in Path(file).read_text().splitlines():
        if line.startswith(name):
            return float(line.split()[1])
    raise KeyError(name)
