"""How every benchmark of the project says what it found: one JSON line for each figure.

A figure's value is a number, or all that was measured: then its median counts, and its quartiles are told with it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Measured: TypeAlias = float | Sequence[float]

# What a benchmark ends with where everything was measured and a goal was missed. Any other failure is 1.
MISSED = 3


def figure(name: str, *, ours: Measured, limit: Measured, unit: str, goal: str, peak_mb: float) -> bool:
    """Prints the line; whether the goal, such as "<=0.15" or ">=1" for ours / limit, is met."""
    ratio = middle(ours) / middle(limit)
    line = {
        "name": name,
        **_told("ours", ours),
        **_told("limit", limit),
        "unit": unit,
        "ratio": round(ratio, 3),
        "goal": goal,
        "peak_mb": round(peak_mb, 1),
    }
    print(json.dumps(line), flush=True)
    return is_met(goal, ratio)


def reading(name: str, value: Measured, *, unit: str, system: str = "") -> None:
    """Prints a figure that has no limit in its run: of a system beside ours, or of ours to be set beside others."""
    print(json.dumps({"name": name, "system": system, **_told("ours", value), "unit": unit}), flush=True)


def failure(reason: str, *, system: str) -> None:
    """Prints why there are no figures of a system."""
    print(json.dumps({"name": "", "system": system, "failure": reason}), flush=True)


def is_met(goal: str, ratio: float) -> bool:
    if not goal:
        return True
    wanted = float(goal[len("<=") :])
    return ratio >= wanted if goal.startswith(">=") else ratio <= wanted


def exit_status(*, met: bool) -> int:
    return 0 if met else MISSED


def middle(value: Measured) -> float:
    return value if isinstance(value, int | float) else p50(value)


def p50(values: Iterable[float]) -> float:
    return statistics.median(values)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Between them lies the middle half."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def _told(name: str, value: Measured) -> dict[str, Any]:
    told: dict[str, Any] = {name: round(middle(value), 3)}
    if not isinstance(value, int | float):
        told[f"{name}_quartiles"] = [round(each, 3) for each in quartiles(value)]
        told[f"{name}_count"] = len(value)
    return told


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
